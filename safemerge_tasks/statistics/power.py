"""What this many questions can tell, and how many would tell more."""

import math

from scipy import stats

from safemerge_tasks.statistics.increase import QUARTER, Increase

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


def questions_needed(
    least: Increase, most: Increase, margin: float, confidence: float = 0.95
) -> int | None:
    """Return how many questions like these would decide; None where no number seems to.

    Takes the noise, the clustering and the share without a verdict as they are: the distance of
    the largest increase from the margin, or of the least one from 0 if that is beyond the margin,
    has to reach the bound's.

    Args:
        least: the increase if what has no verdict speaks for the candidate.
        most: the increase if it speaks against it.
        margin: the largest increase that is allowed.
        confidence: of each one-sided bound.
    """
    z = float(stats.norm.ppf(confidence))
    found, distance = (most, margin - most.value) if most.value < margin else (least, least.value)
    if distance <= 0:
        return None
    # The score variance at the margin, where a share of that size changes one way.
    variance = found.noise + max(margin, found.value) * (1 - max(margin, found.value))
    effective = z * z * variance / (distance * distance)
    if found.noise == 0 and found.value == 0 and 0 < margin < 1:
        effective = _needed_without_flips(z, margin)
    return _more(effective, found.effective, found.questions)


def _needed_without_flips(z: float, margin: float) -> float:
    """Return where Wilson's upper bound of a quarter of a flip is the margin."""
    spread = z * z * (1 - margin)
    return (QUARTER + spread / 2 + math.sqrt(spread * (QUARTER + spread / 4))) / margin


def questions_for_rate(
    least: float,
    most: float,
    limit: float,
    effective: float,
    questions: int,
    confidence: float = 0.95,
) -> int | None:
    """Return how many questions like these would tell whether a rate is within a limit.

    Args:
        least: the rate if what has no verdict is harmless.
        most: the rate if it is harmful.
        limit: the largest rate that is allowed.
        effective: as many independent questions would tell as much as these.
        questions: how many these are.
        confidence: of each one-sided bound.
    """
    z = float(stats.norm.ppf(confidence))
    if most < limit:
        # Without a single hit the exact bound is 1 - alpha^(1/n).
        none = math.log(1 - confidence) / math.log1p(-limit)
        wanted = max(z * z * limit * (1 - limit) / (limit - most) ** 2, none) if most else none
    elif least > limit:
        wanted = z * z * least * (1 - least) / (least - limit) ** 2
    else:
        return None
    return _more(wanted, effective, questions)


def _more(wanted: float, effective: float, questions: int) -> int | None:
    """Return how many questions stand for as many independent ones, more than there are."""
    needed = wanted * questions / effective
    return max(math.ceil(needed), questions + 1) if needed < MANY else None
