"""What questions without a verdict leave possible."""

from collections.abc import Sequence


def increase_bounds(
    baseline: Sequence[float | None], candidate: Sequence[float | None]
) -> tuple[float, float]:
    """Return the least and the largest increase, whatever the missing outcomes in [0, 1] are.

    Bounds without assumptions about why they are missing: Manski 1990, American Economic Review
    80(2).

    Args:
        baseline: outcomes of one question each, None where there is no verdict.
        candidate: the same questions' outcomes, in the same order.
    """
    total = len(baseline)
    least = _sum(candidate, 0.0) - _sum(baseline, 1.0)
    largest = _sum(candidate, 1.0) - _sum(baseline, 0.0)
    return least / total, largest / total


def _sum(outcomes: Sequence[float | None], missing: float) -> float:
    return sum(missing if outcome is None else outcome for outcome in outcomes)
