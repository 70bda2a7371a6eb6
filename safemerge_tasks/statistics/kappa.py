"""Agreement of two observers beyond what chance would give each of them."""

from collections.abc import Sequence


def cohen_kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Return Cohen's kappa, `(p_o - p_e) / (1 - p_e)`.

    `p_o` is the share of units on the diagonal, `p_e` what it would be if both observers kept their
    own shares of the categories and chose by chance. Source: Cohen 1960, Educational and
    Psychological Measurement 20(1), equation 1.

    Args:
        table: `[what the one says][what the other says]`, counts of units.

    Returns:
        1 for perfect agreement, 0 for chance; None without units, or where both observers gave
        every unit the same one category, so that chance alone would agree.
    """
    total = sum(map(sum, table))
    same = sum(row[place] for place, row in enumerate(table))
    columns = [sum(column) for column in zip(*table, strict=True)]
    # Both sides times the square of the total, in whole numbers.
    by_chance = sum(sum(row) * column for row, column in zip(table, columns, strict=True))
    if by_chance == total * total:
        return None
    return float((total * same - by_chance) / (total * total - by_chance))
