from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from statsmodels.stats.proportion import confint_proportions_2indep

from safemerge_tasks.statistics.clustered import Clustered
from safemerge_tasks.statistics.decision import holm
from safemerge_tasks.statistics.increase import (
    Increase,
    paired_increase,
    rate_bounds,
    unpaired_increase,
)
from safemerge_tasks.statistics.power import (
    questions_for_rate,
    questions_needed,
    smallest_detectable,
)
from safemerge_tasks.statistics.score import score_statistic, tango_bound
from safemerge_tasks.statistics.unscored import Outcomes, either_way

counts = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 100))


def outcomes(worse: int, better: int, same: int) -> tuple[list[float], list[float]]:
    old = [0.0] * worse + [1.0] * better + [0.0] * same
    new = [1.0] * worse + [0.0] * better + [0.0] * same
    return old, new


@settings(max_examples=60)
@given(counts, st.floats(-0.8, 0.8))
def test_score_statistic_uses_the_likelihood_under_the_difference(
    table: tuple[int, int, int], difference: float
) -> None:
    """Tango's closed form against a numerical maximum of the multinomial likelihood."""
    worse, better, same = table
    total = worse + better + same
    low, high = max(0.0, -difference), (1 - difference) / 2

    def loss(share: float) -> float:
        cells = (share + difference, share, 1 - 2 * share - difference)
        return -sum(float(xlogy(n, max(c, 1e-300))) for n, c in zip(table, cells, strict=True))

    share = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    variance = total * (2 * share + difference - difference**2)
    expected = (worse - better - total * difference) / max(variance, 1e-300) ** 0.5
    if variance > 1e-3:
        assert score_statistic(worse, better, total, difference) == pytest.approx(
            expected, rel=2e-3, abs=2e-3
        )


@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_bounds_are_where_the_statistic_says(
    table: tuple[int, int, int], confidence: float
) -> None:
    worse, better, total = table[0], table[1], sum(table)
    reach = stats.norm.ppf(confidence)
    low, high = (tango_bound(worse, better, total, sign * reach) for sign in (1, -1))
    assert -1 <= low <= (worse - better) / total <= high <= 1
    for bound, expected in ((low, reach), (high, -reach)):
        if abs(bound) < 0.999:
            assert score_statistic(worse, better, total, bound) == pytest.approx(expected, abs=1e-4)


def test_no_change_bounds_by_hand() -> None:
    """Without discordant pairs the lower bound is -z²/(n + z²), with t's quantile for z.

    The upper one is Wilson's of a quarter of a flip: (x - 1/4)² = t²·x·(1 - x/n) for n more.
    """
    found = paired_increase([0.0] * 100, [0.0] * 100, range(100))
    t = stats.t.ppf(0.95, 99)
    assert found.value == 0
    assert found.lower == pytest.approx(-t * t / (100 + t * t))
    total = 100.25
    hits = found.upper * total
    assert hits > 0.25
    assert (hits - 0.25) ** 2 == pytest.approx(t * t * hits * (1 - hits / total), rel=1e-6)


@pytest.mark.parametrize("total", [54, 75, 200, 520])
@pytest.mark.parametrize("margin", [0.03, 0.05, 0.1])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_a_truth_on_the_margin_passes_once_in_twenty(
    total: int, margin: float, noise: float
) -> None:
    """The exact share, summed over every table that is not too rare to matter."""
    passed, least = 0.0, 0
    for worse in range(int(stats.binom.ppf(1 - 1e-6, total, margin + noise)) + 1):
        here = float(stats.binom.pmf(worse, total, margin + noise))
        rest = stats.binom(total - worse, noise / (1 - margin - noise))
        # The more are worse, the more have to be better; beyond `least` all of them pass.
        while least <= total - worse and rest.sf(least - 1) * here > 1e-7:
            table = outcomes(worse, least, total - worse - least)
            if paired_increase(*table, range(total)).upper <= margin:
                break
            least += 1
        passed += here * float(rest.sf(least - 1))
    assert passed <= 0.0501


@given(counts)
def test_bound_and_p_value_decide_alike(table: tuple[int, int, int]) -> None:
    old, new = outcomes(*table)
    found = paired_increase(old, new, range(len(old)))
    assert (found.lower > 0) == (found.p_value <= 0.05)


@given(counts)
def test_swapping_the_models_mirrors_the_score_bounds(table: tuple[int, int, int]) -> None:
    old, new = outcomes(*table)
    there, back = (paired_increase(*pair, range(len(old))) for pair in ((old, new), (new, old)))
    assert there.value == pytest.approx(-back.value)
    assert there.upper >= -back.lower - 1e-9 or back.lower == 0 or there.upper == 0


def test_copies_of_every_question_tell_nothing_new() -> None:
    old, new = outcomes(20, 4, 76)
    once = paired_increase(old, new, range(100))
    thrice = paired_increase(old * 3, new * 3, [*range(100)] * 3)
    assert thrice.effective == pytest.approx(100, rel=0.02)
    assert (thrice.lower, thrice.upper) == pytest.approx((once.lower, once.upper), abs=2e-3)


def test_graded_outcomes_get_students_bounds() -> None:
    generator = np.random.default_rng(1)
    old, new = generator.random(200), generator.random(200) + 0.2
    found = paired_increase(old, new, range(200))
    expected = stats.ttest_rel(new, old).confidence_interval(0.9)
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))
    again = paired_increase(old, new, range(200), graded="bootstrap")
    assert (again.lower, again.upper) == pytest.approx((found.lower, found.upper), abs=0.02)


def test_equal_graded_outcomes_are_not_certain() -> None:
    found = paired_increase([0.2, 0.7] * 10, [0.2, 0.7] * 10, range(20))
    assert found.upper == pytest.approx(0.5 * (1 - 0.05 ** (1 / 20)))


@given(st.integers(0, 30), st.integers(31, 60), st.integers(0, 30), st.integers(31, 60))
def test_unpaired_is_newcombes_interval(a: int, n: int, b: int, m: int) -> None:
    found = unpaired_increase((a, n), (b, m))
    assert found.value == pytest.approx(b / m - a / n)
    assert found.lower <= found.value <= found.upper
    expected = confint_proportions_2indep(b, m, a, n, method="newcomb", compare="diff", alpha=0.1)
    assert (found.lower, found.upper) == pytest.approx(expected)
    assert (found.lower > 0) == (found.p_value < 0.05)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_by_its_definition(p_values: list[float]) -> None:
    order = np.argsort(p_values, kind="stable")
    running, expected = 0.0, [0.0] * len(p_values)
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        expected[index] = running
    assert holm(p_values) == pytest.approx(expected)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([100, 520]), st.sampled_from([0.0, 0.05, 0.2]))
def test_smallest_detectable_is_detected_four_times_in_five(total: int, noise: float) -> None:
    known = Increase(0, 0, 0, 1, total, total, total, noise)
    size = smallest_detectable(known)
    generator = np.random.default_rng(total)
    hits = 0
    for _ in range(300):
        worse, better, same = generator.multinomial(
            total, [size + noise / 2, noise / 2, 1 - size - noise]
        )
        old, new = outcomes(worse, better, same)
        hits += paired_increase(old, new, range(total)).lower > 0
    assert 0.7 < hits / 300 < 0.93


def test_without_flips_as_many_questions_as_needed_pass() -> None:
    twenty = paired_increase([0.0] * 20, [0.0] * 20, range(20))
    needed = questions_needed(twenty, twenty, 0.05)
    assert needed is not None
    assert twenty.upper > 0.05
    enough = paired_increase([0.0] * (needed + 2), [0.0] * (needed + 2), range(needed + 2))
    assert enough.upper <= 0.05


@pytest.mark.parametrize(("rate", "limit"), [(0.0, 0.01), (0.05, 0.1), (0.2, 0.1)])
def test_as_many_questions_as_needed_tell_whether_a_rate_is_within_a_limit(
    rate: float, limit: float
) -> None:
    needed = questions_for_rate(rate, rate, limit, 10, 10)
    assert needed is not None

    def decided(total: int) -> bool:
        hits = round(rate * total)
        grouped = Clustered.of([1.0] * hits + [0.0] * (total - hits), range(total))
        low, high = rate_bounds(grouped)
        return high <= limit or low > limit

    assert not decided(needed // 2)
    assert decided(round(needed * 1.25))


def test_no_number_of_questions_makes_up_for_missing_verdicts() -> None:
    assert questions_for_rate(0.05, 0.15, 0.1, 100, 100) is None
    least, most = (paired_increase([0.0] * 90, [new] * 9 + [0.0] * 81, range(90)) for new in (0, 1))
    assert questions_needed(least, most, 0.05) is None


def test_zero_of_ten_leaves_a_quarter_possible() -> None:
    """By hand: (1 - p)^10 = 0.05 at p = 0.2589; none of ten, so nothing is sure from below."""
    assert rate_bounds(Clustered.of([0.0] * 10, range(10))) == pytest.approx((0, 0.2589), abs=1e-4)
    # Ten questions asked three times each are still ten.
    thrice = Clustered.of([0.0] * 30, [*range(10)] * 3)
    assert rate_bounds(thrice) == pytest.approx((0, 0.2589), abs=1e-4)


def test_few_clusters_that_differ_count_as_one_question_each() -> None:
    """Nine of 100 clusters of three flip whole: the nine flips are what tells, not 27.

    With the measured effect alone the bounds of nine and of two would rest on noise.
    """
    for flipped in (2, 9):
        new = [1.0] * 3 * flipped + [0.0] * (300 - 3 * flipped)
        grouped = paired_increase([0.0] * 300, new, [n // 3 for n in range(300)])
        alone = paired_increase([0.0] * 100, new[::3], range(100))
        assert grouped.effective <= 100
        assert grouped.upper >= alone.upper - 1e-9
    # One question of each of two clusters: nothing measured, and yet no 300 questions.
    new = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0] + [0.0] * 294
    assert paired_increase([0.0] * 300, new, [n // 3 for n in range(300)]).effective == 100


rate = st.sampled_from([0.0, 1.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(rate, rate, st.integers(0, 3)), min_size=1, max_size=12))
def test_clustered_questions_count_as_one_to_all_of_them(
    rows: list[tuple[float, float, int]],
) -> None:
    old, new, clusters = zip(*rows, strict=True)
    found = paired_increase(old, new, clusters)
    assert 1 - 1e-9 <= found.effective <= len(rows) + 1e-9
    assert -1 <= found.lower <= found.value <= found.upper <= 1


def test_questions_that_are_all_alike_count_as_one() -> None:
    found = paired_increase([0, 0, 1, 0, 1], [1, 0, 1, 1, 0], ["a"] * 5)
    assert found.effective == pytest.approx(1)
    assert found.lower < -0.9
    assert found.upper > 0.9
    least, most = rate_bounds(Clustered.of([1, 0, 1], ["a"] * 3))
    assert least < 0.1
    assert most > 0.9


def test_graded_outcomes_that_all_differ_alike_are_no_riddle() -> None:
    found = paired_increase([0.3] * 100, [0.31] * 100, range(100))
    assert found.lower == pytest.approx(0.01)
    assert found.p_value < 0.001
    # Of three questions the sign-flip test says all there is: half of 1/8.
    few = paired_increase([0.25] * 3, [0.5] * 3, range(3))
    assert few.p_value == pytest.approx(1 / 16)
    assert few.lower <= 0


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, None])] * 2), min_size=1, max_size=6))
def test_unscored_bounds_against_every_filling(
    rows: list[tuple[float | None, float | None]],
) -> None:
    gaps = sum(value is None for row in rows for value in row)
    found = []
    for filling in product((0.0, 1.0), repeat=gaps):
        values = iter(filling)
        full = [[next(values) if value is None else value for value in row] for row in rows]
        found.append(sum(new - old for old, new in full) / len(rows))
    sides = (np.array(side, float) for side in zip(*rows, strict=True))
    old, new = (Outcomes(side, np.isnan(side).astype(float)) for side in sides)
    bounds = [float((new - old).mean()) for old, new in either_way(old, new)]
    assert bounds == pytest.approx([min(found), max(found)])


@given(st.lists(st.sampled_from([0.0, 1.0, None]), min_size=2, max_size=8))
def test_bounds_of_a_question_of_several_answers_against_every_filling(
    answers: list[float | None],
) -> None:
    told = [one for one in answers if one is not None]
    lost = len(answers) - len(told)
    outcome = Outcomes(
        np.array([sum(told) / len(told) if told else np.nan]), np.array([lost / len(answers)])
    )
    ends = [float(end[0]) for end in outcome.ends(0, 1)]
    assert ends == pytest.approx([(sum(told) + more) / len(answers) for more in (0, lost)])
