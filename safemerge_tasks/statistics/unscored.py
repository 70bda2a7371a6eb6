"""What questions without a verdict leave possible."""

from typing import NamedTuple

import numpy as np

from safemerge_tasks.statistics.clustered import Values


class Filled(NamedTuple):
    """Both evaluations' outcomes, none of them missing."""

    baseline: Values
    candidate: Values


def either_way(
    baseline: Values, candidate: Values, low: float = 0.0, high: float = 1.0
) -> tuple[Filled, Filled]:
    """Return the outcomes with the least and those with the largest increase that are possible.

    Bounds without assumptions about why outcomes are missing: Manski 1990, American Economic Review
    80(2).

    Args:
        baseline: outcomes of one question each, NaN where there is no verdict; less is better.
        candidate: the same questions' outcomes, in the same order.
        low: the best outcome there is.
        high: the worst.
    """
    least = Filled(np.nan_to_num(baseline, nan=high), np.nan_to_num(candidate, nan=low))
    most = Filled(np.nan_to_num(baseline, nan=low), np.nan_to_num(candidate, nan=high))
    return least, most
