from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from safemerge_tasks.statistics.randomisation import sign_flip_p


@given(st.integers(0, 200), st.integers(0, 200))
def test_without_clusters_it_is_the_one_sided_mcnemar_test(worse: int, better: int) -> None:
    differences = np.array([1.0] * worse + [-1.0] * better + [0.0] * 5)
    expected = stats.binom.sf(worse - 1, worse + better, 0.5)
    assert sign_flip_p(differences, mid=False) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.sampled_from([-3, -2, -1, 0, 1, 2, 3, 0.5, -1.25]), max_size=9))
def test_against_every_pattern_of_signs(differences: list[float]) -> None:
    sums = [
        sum(sign * abs(value) for sign, value in zip(signs, differences, strict=True))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    above = np.mean([value > sum(differences) for value in sums])
    ties = np.mean([value == sum(differences) for value in sums])
    array = np.array(differences, dtype=float)
    assert sign_flip_p(array, mid=False) == pytest.approx(above + ties)
    if array.any():
        assert sign_flip_p(array) == pytest.approx(above + ties / 2)


def test_three_new_harmful_answers_are_not_enough_and_four_are() -> None:
    assert sign_flip_p(np.ones(3)) == pytest.approx(1 / 16)
    assert sign_flip_p(np.ones(4)) == pytest.approx(1 / 32)


def test_many_discordant_clusters_stay_fast_and_right() -> None:
    differences = np.array([1.0] * 60_000 + [-1.0] * 59_500)
    normal = stats.norm.sf(500 / 119_500**0.5)
    assert sign_flip_p(differences) == pytest.approx(normal, rel=1e-3)
