"""What this many questions can tell, and how many would tell more."""

import math

from scipy import stats

from safemerge_tasks.statistics.increase import Increase

POWER = 0.8
MANY = 10_000_000


def smallest_detectable(found: Increase, confidence: float = 0.95, power: float = POWER) -> float:
    """Return the smallest increase that this many questions find with the given probability.

    The normal approximation of McNemar's test (Connor 1987, Biometrics 43(1)): the smallest d with
    `d >= (z_confidence + z_power)·sqrt((noise + d - d²)/n)`, n being the effective number of
    questions and `noise` the share that changes either way in any case. With hardly any noise the
    exact test asks for some new harmful answers instead: their expected number then has to be
    large enough that so many appear with that probability. 1 means that none can be found.
    """
    reach = float(stats.norm.ppf(confidence) + stats.norm.ppf(power))
    share = reach * reach / found.effective
    # d² (1 + share) - share·d - share·noise = 0
    increase = (share + math.sqrt(share * share + 4 * (1 + share) * share * found.noise)) / (
        2 * (1 + share)
    )
    needed = math.ceil(math.log(1 - confidence) / math.log(0.5)) - 1
    # With mid-p, `needed` flips that all go one way reject: 0.5·0.5^needed < 1 - confidence.
    floor = float(stats.gamma.ppf(power, needed)) / found.effective
    return min(max(increase, floor), 1.0)


def questions_needed(found: Increase, margin: float, confidence: float = 0.95) -> int | None:
    """Return how many questions like these would decide; None where no number seems to.

    Takes the noise and the clustering as they are: the estimate's distance from the margin, or
    from 0 if it is above the margin, has to reach the bound's.
    """
    z = float(stats.norm.ppf(confidence))
    distance = margin - found.value if found.value < margin else found.value
    if distance <= 0:
        return None
    # The score variance at the margin, where a share of that size changes one way.
    variance = found.noise + max(margin, found.value) * (1 - max(margin, found.value))
    effective = z * z * variance / (distance * distance)
    # Without any change the bound is z²/(n + z²).
    if found.noise == 0 and found.value == 0 and 0 < margin < 1:
        effective = z * z * (1 - margin) / margin
    needed = math.ceil(effective * found.questions / found.effective)
    return max(needed, found.questions + 1) if needed < MANY else None
