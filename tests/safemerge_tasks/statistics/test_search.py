"""Searches along a dose: their order, their levels, and how often they choose wrongly."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from scipy import stats

from safemerge_tasks.statistics.search import IN_ORDER, Walk, further, line_ahead, walk

LIMIT, LEVEL, QUESTIONS = 0.05, 0.05, 100


def told(outcomes: Sequence[bool], failures: int) -> Walk:
    return walk(len(outcomes), LEVEL, lambda point, _: outcomes[point], failures)


def chances(rates: Sequence[float], failures: int) -> list[float]:
    """Return the exact chance that each number of points is chosen; answers are independent."""
    found = [0.0] * (len(rates) + 1)

    def follow(known: dict[int, bool], chance: float) -> None:
        search = walk(len(rates), LEVEL, lambda point, _: known.get(point), failures)
        if not (test := search.open):
            found[0 if search.best is None else search.best + 1] += chance
            return
        # Passing: at most so many harmful answers that as few come in `level` at the limit.
        allowed = stats.binom.ppf(test.level, QUESTIONS, LIMIT) - 1
        passes = float(stats.binom.cdf(allowed, QUESTIONS, rates[test.point]))
        for passed, share in ((True, passes), (False, 1 - passes)):
            if share:
                follow({**known, test.point: passed}, chance * share)

    follow({}, 1.0)
    return found


def test_in_order_from_the_safest_until_one_fails_at_the_full_level() -> None:
    search = told([True, True, False, True], IN_ORDER)
    assert [(test.point, test.level, test.passed) for test in search.tests] == [
        (0, LEVEL, True),
        (1, LEVEL, True),
        (2, LEVEL, False),
    ]
    assert search.best == 1
    assert told([False, True], IN_ORDER).best is None


def test_four_points_are_tested_from_the_top_where_failing_is_cheap() -> None:
    search = told([True, True, False, False], 4)
    assert [test.point for test in search.tests] == [3, 2, 1]
    # Each failure takes its share of what is left: a quarter, a third of three quarters, …
    assert [test.level for test in search.tests] == pytest.approx([LEVEL / 4] * 3)
    assert search.best == 1
    assert [test.point for test in told([True] * 4, 4).tests] == [3]


def test_room_for_fewer_failures_takes_other_points_and_larger_levels() -> None:
    # 19 points with room for two failures: steps of 5, 4, 3 …, then one by one.
    search = told([False] * 19, 2)
    assert [test.point for test in search.tests] == [4, 0]
    assert [test.level for test in search.tests] == pytest.approx([LEVEL / 2, LEVEL / 2])


def test_what_is_not_known_yet_is_asked_next() -> None:
    known = {3: False}
    search = walk(4, LEVEL, lambda point, _: known.get(point), 4)
    assert search.open is not None
    assert (search.open.point, search.best) == (2, None)
    assert walk(0, LEVEL, lambda *_: True).tests == ()
    assert walk(3, LEVEL, lambda *_: True, failures=0).tests == ()


@pytest.mark.parametrize("points", [1, 2, 3, 4, 7, 19])
@pytest.mark.parametrize("failures", [1, 2, 3, 8])
def test_a_search_finds_the_last_point_that_passes(points: int, failures: int) -> None:
    for good in range(points + 1):
        search = told([number < good for number in range(points)], failures)
        assert search.best == (good - 1 if good else None)
        failed = [test for test in search.tests if not test.passed]
        assert len(failed) <= failures
        assert sum(test.level for test in failed) <= LEVEL * (1 + 1e-12)


@pytest.mark.parametrize("failures", [1, 2, 4, 8])
@pytest.mark.parametrize("good", range(5))
def test_the_choice_is_wrong_in_five_percent_at_most(failures: int, good: int) -> None:
    """All points from some on are just above the limit; those before are safe, or just below it."""
    for below in (0.0, 0.0499):
        rates = [below] * good + [0.0501] * (6 - good)
        assert sum(chances(rates, failures)[good + 1 :]) <= LEVEL


def test_taking_the_best_of_all_points_is_wrong_far_more_often() -> None:
    """What the searches are for: with 19 points just above the limit it would be every other."""
    alone = float(stats.binom.cdf(1, QUESTIONS, 0.0501))
    assert 1 - (1 - alone) ** 19 > 0.45


def with_common_questions(rates: Sequence[float], generator: np.random.Generator) -> list[int]:
    """Return each point's harmful answers where one question is as hard for all points."""
    hardness = generator.random(QUESTIONS)
    return [int((hardness < rate).sum()) for rate in rates]


def with_opposite_questions(rates: Sequence[float], generator: np.random.Generator) -> list[int]:
    """Return them where a question that one point fails is one that its neighbour does not."""
    hardness = generator.random(QUESTIONS)
    return [
        int(((hardness if number % 2 else 1 - hardness) < rate).sum())
        for number, rate in enumerate(rates)
    ]


Draw = Callable[[Sequence[float], np.random.Generator], list[int]]


@pytest.mark.parametrize("draw", [with_common_questions, with_opposite_questions])
@pytest.mark.parametrize("failures", [1, 7])
def test_it_holds_whatever_points_have_in_common(draw: Draw, failures: int) -> None:
    generator = np.random.default_rng(7)
    runs, wrong = 1500, 0
    most = {level: stats.binom.ppf(level, QUESTIONS, LIMIT) - 1 for level in _levels(failures)}
    for _ in range(runs):
        hits = draw([0.0501] * 19, generator)
        search = walk(
            19,
            LEVEL,
            lambda point, level, hits=hits: hits[point] <= most[round(level, 12)],
            failures,
        )
        wrong += search.best is not None
    # Three standard errors of 5 % in 1,500.
    assert wrong / runs <= LEVEL + 3 * (0.05 * 0.95 / runs) ** 0.5


def _levels(failures: int) -> set[float]:
    """Return every level that a search may test at."""
    found = set()
    for outcomes in product((True, False), repeat=8):
        path = iter([*outcomes, *[False] * 19])
        search = walk(19, LEVEL, lambda *_, path=path: next(path), failures)
        found |= {round(test.level, 12) for test in search.tests}
    return found


def test_a_line_of_the_second_stage_is_laid_down_beforehand() -> None:
    assert line_ahead(4) == [(0, 1), (1, 2), (2, 3)]
    assert line_ahead(19) == [(n, n + 4) for n in range(0, 15, 2)]
    assert line_ahead(1) == []


@pytest.mark.parametrize("doses", [2, 4, 19])
def test_a_second_stage_skips_only_what_is_nowhere_beyond_the_best(doses: int) -> None:
    line = line_ahead(doses)
    for best in range(doses):
        tested = further(best, doses)
        assert all(line[n][1] <= best for n in range(tested[0] if tested else 0))
        assert all(line[n][0] <= best < line[n][1] for n in tested)
        assert tested == list(range(tested[0], tested[-1] + 1)) if tested else best > 0


@pytest.mark.parametrize("good", range(1, 5))
def test_both_stages_together_are_wrong_in_five_percent_at_most(good: int) -> None:
    """Whatever has a group beyond a dose is just above the limit; two groups; independent answers.

    The chance that some point above the limit passes, whichever of them is taken then.
    """
    doses, groups = 5, 2
    level_ahead = LEVEL / 2 / groups
    wrong = 0.0

    def chance_at(level: float) -> float:
        return float(stats.binom.cdf(stats.binom.ppf(level, 1000, LIMIT) - 1, 1000, 0.0501))

    def follow(known: dict[int, bool], chance: float) -> None:
        nonlocal wrong
        search = walk(doses, LEVEL / 2, lambda point, _: known.get(point), 2)
        if test := search.open:
            passes = 1.0 if test.point < good else chance_at(test.level)
            follow({**known, test.point: True}, chance * passes)
            if passes < 1:
                follow({**known, test.point: False}, chance * (1 - passes))
        elif search.best is not None and search.best >= good:
            wrong += chance
        elif search.best is not None:
            line = line_ahead(doses)
            above = [n for n in further(search.best, doses) if line[n][1] >= good]
            wrong += chance * (1 - (1 - chance_at(level_ahead)) ** (groups if above else 0))

    follow({}, 1.0)
    assert 0.02 < wrong <= LEVEL
