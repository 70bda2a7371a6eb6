"""The adjustment for a family of tests."""

import random

import pytest
from statsmodels.stats.multitest import multipletests

from safemerge_tasks.statistics.decision import holm


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1, never falling: 0.03, 0.04, 0.04.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    assert holm([0.3]) == [0.3]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_statsmodels(seed: int) -> None:
    dice = random.Random(seed)
    values = [dice.choice((dice.random(), dice.random() / 100, 0.5)) for _ in range(20)]
    assert holm(values) == pytest.approx(list(multipletests(values, method="holm")[1]), abs=1e-15)
