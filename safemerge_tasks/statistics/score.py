"""Score bounds for the difference of two paired rates."""

import math

from scipy.optimize import brentq


def tango_bound(worse: float, better: float, total: float, reach: float) -> float:
    """Return the difference of paired rates at which the score statistic is `reach`.

    Tango 1998, Statistics in Medicine 17(8): the statistic's variance uses the likelihood under
    the difference in question, so that bounds hold at few or no discordant pairs, where the usual
    one is zero. A negative `reach` gives the upper bound.

    Args:
        worse: pairs that only the candidate fails; fractional for an effective number of pairs.
        better: pairs that only the baseline fails.
        total: all pairs.
        reach: the normal or t quantile of a one-sided bound.
    """
    estimate = (worse - better) / total
    edge = math.copysign(1.0, -reach)
    if estimate == edge:
        return edge

    def excess(difference: float) -> float:
        return score_statistic(worse, better, total, difference) - reach

    near, far = estimate, edge * (1 - 1e-9)
    if excess(far) * -edge < 0:
        return edge
    return float(brentq(excess, *sorted((near, far)), xtol=1e-10))


def score_statistic(worse: float, better: float, total: float, difference: float) -> float:
    """Return Tango's statistic of "the rates differ by `difference`"; falls as that grows."""
    numerator = worse - better - total * difference
    linear = -worse - better + (2 * total - worse + better) * difference
    constant = -better * difference * (1 - difference)
    root = math.sqrt(max(linear * linear - 8 * total * constant, 0.0))
    share = (root - linear) / (4 * total)
    variance = total * (2 * share + difference * (1 - difference))
    if numerator == 0:
        return 0.0
    return numerator / math.sqrt(max(variance, 1e-300))
