"""How much worse a candidate is, with one-sided bounds and a p-value that agree."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from safemerge_tasks.statistics.clustered import Clustered, Values, bootstrap_means, t_bounds
from safemerge_tasks.statistics.intervals import clopper_pearson_interval, wilson_interval
from safemerge_tasks.statistics.randomisation import sign_flip_p
from safemerge_tasks.statistics.score import score_statistic, tango_bound

FEW = 10
"""Below this many discordant clusters their correlation cannot be measured and is taken as full."""

QUARTER = 0.25
"""Of a flip, added before an upper bound is taken: see `_rates`."""

LEAST_P = 1e-12
"""Smaller p-values of unpaired rates are not told apart."""


@dataclass(frozen=True)
class Increase:
    """An increase of something bad from a baseline to a candidate.

    Attributes:
        value: the estimate.
        lower: one-sided lower bound; above 0 exactly when `p_value` is below 1 - confidence.
        upper: one-sided upper bound.
        p_value: one-sided, of "no increase".
        questions: how many the estimate rests on.
        clusters: how many groups of them are independent.
        effective: as many independent questions would tell as much.
        noise: the share of questions whose outcome changes although the rate does not, times two
            for rates: the variance of one difference apart from an increase's own.
    """

    value: float
    lower: float
    upper: float
    p_value: float
    questions: int
    clusters: int
    effective: float
    noise: float


def paired_increase(
    baseline: Sequence[float] | Values,
    candidate: Sequence[float] | Values,
    clusters: Sequence[Hashable],
    confidence: float = 0.95,
    graded: Literal["t", "bootstrap"] = "t",
) -> Increase:
    """Return the increase of the mean over pairs of outcomes.

    For 0/1 outcomes: Tango's score bounds (`tango_bound`) on counts divided by the design effect
    (as Korn and Graubard 1998, Survey Methodology 24(2), do for one rate), with t quantiles of G-1
    degrees of freedom, where 0 stays within the bounds unless the cluster sign-flip test with
    mid-p (`sign_flip_p`) rejects it too. The upper bound takes one more quarter of a flip for the
    worse: without it, a margin is passed in 6.3 % of cases where the truth lies on it, because
    counts are whole numbers; with it in 5.0 % (exact sums over n = 50 … 2,000, margins of 1 to
    20 %). For graded outcomes: cluster-robust t, or percentiles of the cluster bootstrap, and 0 is
    kept in the same way where few pairs differ.
    `benchmarks/gate_statistics.py` shows coverage, false alarms and wrong passes, and why not the
    alternatives.

    Args:
        baseline: one outcome a question.
        candidate: the same questions' outcomes, in the same order.
        clusters: labels; questions with equal ones are not independent.
        confidence: of each one-sided bound.
        graded: which bounds graded outcomes get.
    """
    old, new = (np.asarray(side, dtype=np.float64) for side in (baseline, candidate))
    values = Clustered.of(new - old, clusters)
    both = np.concatenate([old, new])
    if np.isin(both, (0.0, 1.0)).all():
        worse, better = int(((new - old) > 0).sum()), int(((new - old) < 0).sum())
        found = _rates(values, worse, better, confidence)
    else:
        found = _graded(values, float(np.ptp(both)), confidence, graded)
    return _keep_zero(found, values, confidence)


def _rates(values: Clustered, worse: int, better: int, confidence: float) -> Increase:
    total = values.total
    effect = design_effect(values)
    reach = float(stats.t.ppf(confidence, values.degrees_of_freedom))
    scaled = (worse / effect, better / effect, total / effect)
    statistic = score_statistic(*scaled, 0.0)
    more = (scaled[0] + QUARTER, scaled[1], scaled[2] + QUARTER)
    return Increase(
        value=values.mean,
        lower=tango_bound(*scaled, reach),
        upper=tango_bound(*more, -reach),
        p_value=float(stats.t.sf(statistic, values.degrees_of_freedom)),
        questions=total,
        clusters=len(values.sums),
        effective=total / effect,
        noise=2 * min(worse, better) / total,
    )


def _graded(
    values: Clustered, spread: float, confidence: float, method: Literal["t", "bootstrap"]
) -> Increase:
    lower, upper = t_bounds(values, confidence)
    error = values.standard_error
    p_value = 1.0
    if method == "bootstrap":
        means = bootstrap_means(values)
        lower, upper = (float(np.quantile(means, q)) for q in (1 - confidence, confidence))
        p_value = float(np.mean(means <= 0))
    elif np.isfinite(error) and error > 0:
        p_value = float(stats.t.sf(values.mean / error, values.degrees_of_freedom))
    elif error == 0 and values.mean > 0:
        p_value = 0.0  # all differ alike; the sign-flip test says how far that goes
    effect = design_effect(values)
    # What questions that were not asked may do even if no pair seen differs: each by `spread`.
    unseen = spread * (1 - (1 - confidence) ** (effect / values.total))
    variance = values.squares / values.total - values.mean**2
    return Increase(
        value=values.mean,
        lower=min(lower, values.mean - unseen) if p_value > 1 - confidence else lower,
        upper=max(upper, values.mean + unseen),
        p_value=p_value,
        questions=values.total,
        clusters=len(values.sums),
        effective=values.total / effect,
        noise=max(variance, 0.0),
    )


def _keep_zero(found: Increase, values: Clustered, confidence: float) -> Increase:
    """Return the bounds widened to 0 unless the sign-flip test rejects it as well."""
    exact = sign_flip_p(values.sums)
    if exact is None or exact <= found.p_value:
        return found
    lower = min(found.lower, 0.0) if exact > 1 - confidence else found.lower
    return replace(found, lower=lower, p_value=exact)


def design_effect(values: Clustered) -> float:
    """Return by how much clustering reduces the number of questions, never below 1.

    Where few clusters have a difference the measured effect means nothing, so that of clusters
    that behave as one is taken if it is larger.
    """
    measured = max(values.measured_design_effect, 1.0)
    few = np.count_nonzero(values.sums) < FEW
    return max(measured, values.largest_design_effect) if few else measured


def rate_bounds(values: Clustered, confidence: float = 0.95) -> tuple[float, float]:
    """Return the one-sided lower and the one-sided upper bound of a rate, each at `confidence`.

    Clopper and Pearson's on the effective number of values, which Korn and Graubard 1998, Survey
    Methodology 24(2), propose for small rates: none of 10 leaves up to 26 % possible. A mean of
    graded values within [0, 1] may stand for a rate: its variance is at most as large.
    """
    effective = values.total / design_effect(values)
    hits = min(max(values.mean, 0.0), 1.0) * effective
    return clopper_pearson_interval(hits, effective, 2 * confidence - 1)


def unpaired_increase(
    baseline: tuple[float, float], candidate: tuple[float, float], confidence: float = 0.95
) -> Increase:
    """Return the increase of a rate between two evaluations whose questions cannot be paired.

    Newcombe's hybrid of two Wilson intervals (1998, Statistics in Medicine 17(8), method 10), which
    has bounds at rates of 0 and 1 too. A mean of graded outcomes within [0, 1] may stand for a
    rate: its variance is at most as large.

    Args:
        baseline: successes and questions.
        candidate: the same.
        confidence: of each one-sided bound.
    """
    (old, old_total), (new, new_total) = baseline, candidate
    value = new / new_total - old / old_total

    def bounds(level: float) -> tuple[float, float]:
        old_low, old_high = wilson_interval(old, old_total, 2 * level - 1)
        new_low, new_high = wilson_interval(new, new_total, 2 * level - 1)
        before, after = old / old_total, new / new_total
        return (
            value - math.hypot(after - new_low, old_high - before),
            value + math.hypot(new_high - after, before - old_low),
        )

    # The level at which the lower bound is 0, so that bound and p-value agree.
    p_value = 1.0
    if value > 0:
        sure = bounds(1 - LEAST_P)[0] > 0
        p_value = (
            LEAST_P
            if sure
            else float(brentq(lambda alpha: bounds(1 - alpha)[0], LEAST_P, 0.5, xtol=1e-16))
        )
    lower, upper = bounds(confidence)
    effective = 2 / (1 / old_total + 1 / new_total)
    pooled = (old + new) / (old_total + new_total)
    total = int(min(old_total, new_total))
    return Increase(
        value, lower, upper, p_value, total, total, effective, 2 * pooled * (1 - pooled)
    )
