"""What questions without a verdict leave possible."""

from typing import NamedTuple

import numpy as np

from safemerge_tasks.statistics.clustered import Values


class Filled(NamedTuple):
    """Both evaluations' outcomes, none of them missing."""

    baseline: Values
    candidate: Values


class Outcomes(NamedTuple):
    """One evaluation's outcomes, of one question each.

    Attributes:
        values: the means of the answers that tell something; NaN where none does.
        lost: which share of the answers tells nothing; 1 where none does.
    """

    values: Values
    lost: Values

    def ends(self, low: float, high: float) -> tuple[Values, Values]:
        """Return the values if all that is lost were `low`, and if it were `high`."""
        told = np.nan_to_num(self.values) * (1 - self.lost)
        return told + self.lost * low, told + self.lost * high


def either_way(
    baseline: Outcomes, candidate: Outcomes, low: float = 0.0, high: float = 1.0
) -> tuple[Filled, Filled]:
    """Return the outcomes with the least and those with the largest increase that are possible.

    Bounds without assumptions about why outcomes are missing: Manski 1990, American Economic Review
    80(2).

    Args:
        baseline: of which less is better.
        candidate: the same questions' outcomes, in the same order.
        low: the best outcome there is.
        high: the worst.
    """
    old, new = baseline.ends(low, high), candidate.ends(low, high)
    return Filled(old[1], new[0]), Filled(old[0], new[1])
