"""Intervals for one rate."""

from collections.abc import Sequence

from statsmodels.stats.proportion import proportion_confint


def wilson_interval(count: float, total: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a rate.

    Source: Wilson 1927, JASA 22(158); holds at small rates, where the normal interval does not.

    Args:
        count: successes; may be fractional where each of `total` units is itself a mean.
        total: units, more than none; fractional for an effective number of them.
        confidence: two-sided.
    """
    low, high = proportion_confint(count, total, alpha=1 - confidence, method="wilson")
    # By the formula too; rounding leaves out a rate of 0 or 1 by 1e-17.
    return 0.0 if count == 0 else float(low), 1.0 if count == total else float(high)


def clopper_pearson_interval(
    count: float, total: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the exact interval of a rate: it covers at least as often as it says.

    Source: Clopper and Pearson 1934, Biometrika 26(4).

    Args:
        count: successes.
        total: trials, more than none.
        confidence: two-sided.
    """
    low, high = proportion_confint(count, total, alpha=1 - confidence, method="beta")
    return float(low), float(high)


def interval_over_units(
    values: Sequence[Sequence[float]], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean of repeated 0/1 outcomes with an interval whose unit is the question.

    Several models (seeds) answer the same questions, so their outcomes are not independent. Each
    question counts once, with its mean outcome; Wilson's interval on that many units is
    conservative, because averaging can only lower a question's variance.

    Args:
        values: for each model, one outcome a question, all in the same order.
        confidence: two-sided.

    Returns:
        Mean, lower bound and upper bound.
    """
    units = [sum(outcomes) / len(outcomes) for outcomes in zip(*values, strict=True)]
    low, high = wilson_interval(sum(units), len(units), confidence)
    return sum(units) / len(units), low, high
