"""Changes of a rate along runs: where, how sure, and not where there is none."""

import math
from itertools import product

import numpy as np
import pytest

from safemerge_tasks.statistics.change_points import (
    change_points,
    effective,
    likelihood_ratios,
)


def log_likelihood(hits: int, total: int) -> float:
    return sum(part * math.log(part / total) for part in (hits, total - hits) if part)


def test_the_ratio_is_that_of_two_binomials_and_one() -> None:
    hits, totals = [3, 1, 9, 0], [10, 20, 15, 5]
    found = likelihood_ratios(np.array([hits]), np.array(totals))[0]
    for place in (1, 2, 3):
        expected = (
            log_likelihood(sum(hits[:place]), sum(totals[:place]))
            + log_likelihood(sum(hits[place:]), sum(totals[place:]))
            - log_likelihood(13, 50)
        )
        assert found[place - 1] == pytest.approx(expected, abs=1e-12)


def test_its_p_value_is_the_exact_one() -> None:
    """Of every way to spread four hits over three runs of four, six and eight questions."""
    totals, hits = [4, 6, 8], [4, 0, 0]

    def largest(spread: tuple[int, ...]) -> float:
        return float(likelihood_ratios(np.array([spread]), np.array(totals)).max())

    weights = {
        spread: math.prod(math.comb(n, k) for n, k in zip(totals, spread, strict=True))
        for spread in product(*(range(n + 1) for n in totals))
        if sum(spread) == 4
    }
    reached = sum(
        w for spread, w in weights.items() if largest(spread) >= largest(tuple(hits)) - 1e-9
    )
    exact = reached / math.comb(18, 4)
    assert 0.0001 < exact < 0.01
    (found,) = change_points(hits, totals)
    assert 1 - found.confidence == pytest.approx(exact, abs=0.0015)


def test_one_change_where_it_is() -> None:
    (found,) = change_points([2, 3, 2, 2, 20, 22, 19], [100] * 7)
    assert found[:3] == (4, 4, 4)
    assert (found.before, found.after) == (pytest.approx(9 / 400), pytest.approx(61 / 300))
    assert found.confidence == pytest.approx(0.9999)


def test_up_and_down_again() -> None:
    found = change_points([2, 1, 2, 30, 31, 29, 1, 2, 1], [100] * 9)
    assert [one.place for one in found] == [3, 6]
    assert [round(one.before, 3) for one in found] == [0.017, 0.3]
    assert [round(one.after, 3) for one in found] == [0.3, 0.013]


def test_a_place_that_is_not_sure_is_a_range() -> None:
    (found,) = change_points([1, 1, 1, 4, 7, 7, 7], [50] * 7)
    assert (found.earliest, found.latest) == (3, 4)


@pytest.mark.parametrize("hits", [[5] * 8, [0] * 8, [100] * 8, [5], [], [0, 1, 0, 0]])
def test_none_where_there_is_none(hits: list[int]) -> None:
    assert change_points(hits, [100] * len(hits)) == []


def test_false_alarms_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(3)
    histories = rng.binomial(80, 0.1, size=(150, 10))
    alarms = sum(bool(change_points(list(one), [80] * 10)) for one in histories)
    # Of 150 at 5 %: more than 14 have a probability of 1 %.
    assert alarms <= 14


def test_dependent_questions_count_as_fewer() -> None:
    assert effective(30, 300, 3.0) == (10, 100)
    assert effective(1, 1, 4.0) == (1, 1)
    # As many answers of twice as few questions: what was sure is no more.
    hits, totals = [2, 2, 8, 8], [50] * 4
    (found,) = change_points(hits, totals)
    assert (found.before, found.after) == (0.04, 0.16)
    assert change_points(hits, totals, [4.0] * 4) == []
