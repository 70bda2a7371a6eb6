"""Agreement of any number of observers, some of whom may have said nothing of some units."""

from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction


def nominal_alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Return Krippendorff's alpha for values that are equal or not.

    `1 - D_o / D_e`: the share of unequal pairs of values within units over that of all pairs.
    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section D: with `n_uc`
    the count of value c in unit u, `n_u` that of all its values, `n_c` that of c in all units with
    two or more values, and `n` the sum of those,
    `alpha = 1 - (n - 1) (n - sum_uc n_uc (n_uc - 1) / (n_u - 1)) / (n^2 - sum_c n_c^2)`.

    Args:
        units: the values given to each unit; those with fewer than two do not count.

    Returns:
        1 for perfect agreement, 0 for what chance gives; None where no unit has two values. Where
        all values are the same there was nothing to disagree on: 1, though the ratio is 0/0.
    """
    counts = [Counter(values) for values in units if len(values) > 1]
    totals = sum(counts, Counter())
    n = totals.total()
    if not n:
        return None
    if len(totals) == 1:
        return 1.0
    equal = sum(
        Fraction(sum(count * (count - 1) for count in unit.values()), unit.total() - 1)
        for unit in counts
    )
    pairs = n * n - sum(count * count for count in totals.values())
    return float(1 - (n - 1) * (n - equal) / pairs)
