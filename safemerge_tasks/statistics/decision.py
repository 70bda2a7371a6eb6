"""The gate's rule: non-inferiority against a margin, over a family of tests."""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from scipy import stats

from safemerge_tasks.statistics.increase import Increase


class Decision(StrEnum):
    """What a comparison says."""

    PASSED = "passed"
    REGRESSION = "regression"
    UNDECIDED = "undecided"


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for the whole family (Holm 1979, Scand. J. Statistics 6(2))."""
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    # Here and not from statsmodels, whose function collects garbage on every call: 0.2 s each.
    stepped = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(p) for p in adjusted]


def decide_increase(
    found: Increase,
    margin: float,
    confidence: float,
    family_p: float | None = None,
    family: int = 1,
) -> Decision:
    """Return what an increase says against the largest one allowed.

    - regression: the lower bound exceeds 0 (its p-value, adjusted for the family, is at most
      1 - confidence), or the estimate exceeds a margin that the data can resolve;
    - passed: the upper bound is within the margin, which is the non-inferiority test (Piaggio et
      al. 2012, JAMA 308(24));
    - undecided: the margin cannot be resolved.

    A margin is resolved when the estimate's distance to its lower bound, widened to the family's
    level (Bonferroni), is not larger: an estimate beyond a finer margin is often noise, and to fail
    on it would break the false-alarm rate.
    Passing needs no adjustment, because all tests have to pass (Berger 1982, Technometrics 24(4)).

    Args:
        found: the increase.
        margin: the largest increase that is allowed.
        confidence: of the one-sided bounds.
        family_p: the p-value adjusted for the family.
        family: how many tests it has.
    """
    p_value = found.p_value if family_p is None else family_p
    if p_value <= 1 - confidence and found.lower > 0:
        return Decision.REGRESSION
    wider = stats.norm.isf((1 - confidence) / family) / stats.norm.isf(1 - confidence)
    resolved = (found.value - found.lower) * wider <= margin
    if resolved and found.value > margin:
        return Decision.REGRESSION
    return Decision.PASSED if found.upper <= margin else Decision.UNDECIDED
