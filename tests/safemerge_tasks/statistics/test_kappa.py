"""Cohen's kappa by hand, as published, and as statsmodels computes it."""

from collections.abc import Sequence

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from safemerge_tasks.statistics.kappa import cohen_kappa

COHEN_1960 = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
"""Cohen 1960, table 1: p_o = .70, p_e = .41."""

FLEISS_1981 = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]
"""Fleiss 1981, Statistical Methods for Rates and Proportions, table 13.1."""


@pytest.mark.parametrize(("table", "kappa"), [(COHEN_1960, 0.492), (FLEISS_1981, 0.676)])
def test_published_examples(table: Sequence[Sequence[int]], kappa: float) -> None:
    assert cohen_kappa(table) == pytest.approx(kappa, abs=5e-4)


def test_by_hand() -> None:
    """Of 50, 35 agree; the one says yes to 25, the other to 30: p_e = .5 * .6 + .5 * .4 = .5."""
    assert cohen_kappa([[20, 5], [10, 15]]) == pytest.approx((0.7 - 0.5) / (1 - 0.5))


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ([[3, 0], [0, 5]], 1.0),
        ([[0, 4], [4, 0]], -1.0),
        ([[4, 4], [4, 4]], 0.0),
        # One observer says the same of all, which is what chance gives.
        ([[3, 5], [0, 0]], 0.0),
        ([[8, 0], [0, 0]], None),
        ([[0, 0], [0, 0]], None),
    ],
)
def test_ends(table: Sequence[Sequence[int]], kappa: float | None) -> None:
    assert cohen_kappa(table) == kappa


def test_large_counts_lose_nothing() -> None:
    assert cohen_kappa([[10**9, 1], [1, 0]]) == pytest.approx(-1e-9, rel=1e-6)


def test_as_statsmodels() -> None:
    random = np.random.default_rng(0)
    for size in (2, 3, 5):
        for _ in range(50):
            table = random.integers(1, 40, (size, size))
            expected = cohens_kappa(table, return_results=False)
            assert cohen_kappa(table.tolist()) == pytest.approx(expected)
