"""A measure from samples, from counts and from a standard error."""

from math import sqrt

import pytest
from scipy.optimize import brentq

from safemerge_tasks.report.measure import from_counts, from_error, from_questions
from safemerge_tasks.report.tradeoff import mean_rate, pareto
from safemerge_tasks.report.wording import cell
from safemerge_tasks.results.evaluation import ScoredQuestion
from safemerge_tasks.statistics import wilson_interval


def questions(values: list[float | None], cluster: str = "") -> list[ScoredQuestion]:
    return [
        ScoredQuestion(str(n), b"", b"", "", "", cluster, value is None, True, (value,))
        for n, value in enumerate(values)
    ]


def test_a_rate_has_wilsons_interval() -> None:
    found = from_questions(questions([1.0] * 24 + [0.0] * 176), 0)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.12, *wilson_interval(24, 200)))
    assert cell(found) == "12.0% (8.2% to 17.2%), 24 of 200"


def test_unscored_questions_leave_the_rate_and_give_bounds() -> None:
    found = from_questions(questions([1.0] * 2 + [0.0] * 6 + [None] * 2), 0)
    assert found is not None
    assert (found.value, found.scored, found.unscored) == (0.25, 8, 2)
    assert found.possible == (0.2, 0.4)
    assert found.too_many_unscored
    assert cell(found).endswith("2 of 8; 2 unscored ⚠")


def test_no_verdict_at_all() -> None:
    found = from_questions(questions([None, None]), 0)
    assert found is not None
    assert cell(found) == "no verdict on any of 2"


def test_dependent_questions_widen_the_interval() -> None:
    alone = from_questions(questions([1.0, 0.0] * 50), 0)
    pairs = [a for n in range(50) for a in questions([float(n % 2)] * 2, cluster=f"c{n}")]
    together = from_questions(pairs, 0)
    assert alone is not None
    assert together is not None
    assert alone.low is not None
    assert together.low is not None
    assert together.low < alone.low


def test_graded_outcomes_have_a_t_interval() -> None:
    found = from_questions(questions([0.2, 0.4, 0.6]), 0)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    # 0.4 ± 4.3027 · 0.2/√3
    assert (found.low, found.high) == pytest.approx((0.4 - 0.49683, 0.4 + 0.49683), abs=1e-4)


def test_counts() -> None:
    found = from_counts({"harmful": 3, "scored": 10, "total": 12})
    assert found is not None
    assert found.low == pytest.approx(wilson_interval(3, 10)[0])
    assert cell(found).endswith("3 of 10; 2 unscored ⚠ [counts]")
    assert from_counts({"harmful": 11, "scored": 10, "total": 12}) is None
    assert from_counts({"harmful": "x", "scored": 10, "total": 12}) is None
    assert from_counts({"harmful": 1, "scored": 10, "total": float("inf")}) is None
    assert from_counts({"harmful": 1, "scored": 10, "total": 10**400}) is None


@pytest.mark.parametrize("values", [[0.0] * 40, [0.1] * 40])
def test_of_several_answers_those_without_a_verdict_are_counted(values: list[float | None]) -> None:
    """A quarter of each question's answers has none."""
    asked = [one._replace(unscored=0.25) for one in questions(values)]
    found = from_questions(asked, 0)
    assert found is not None
    assert (found.scored, found.total, found.hits, found.too_many_unscored) == (30, 40, None, True)
    assert "30 scored; 10 unscored ⚠" in cell(found)


def test_standard_error() -> None:
    found = from_error(0.5, 0.1, 100)
    assert (found.low, found.high) == pytest.approx((0.304, 0.696), abs=1e-3)
    assert cell(from_error(0.5, "N/A", 100)) == "50.0%, 100 scored [value]"
    nothing = from_error(0.0, 0.0, 100)
    assert (nothing.low, nothing.high) == pytest.approx(wilson_interval(0, 100))


def test_a_subsets_interval_is_for_the_whole_suite() -> None:
    """30 of 100 questions that were drawn from 520."""

    def misses(rate: float) -> float:
        variance = rate * (1 - rate) / 100 * (520 - 100) / (520 - 1)
        return (0.3 - rate) ** 2 - (1.959964**2 + 1.644854**2) * variance

    ends = brentq(misses, 0.01, 0.3, xtol=1e-12), brentq(misses, 0.3, 0.9, xtol=1e-12)
    asked = questions([1.0] * 30 + [0.0] * 70)
    told = {"harmful": 30, "scored": 100, "total": 100}
    for found in (from_questions(asked, 0, stands_for=5.2), from_counts(told, 5.2)):
        assert found is not None
        assert (found.low, found.high) == pytest.approx(ends, abs=1e-6)
        assert found.design_effect == pytest.approx(1)
    none = from_questions(questions([0.0] * 100), 0, stands_for=5.2)
    assert none is not None
    assert none.high == from_error(0.0, 0.0, 100, stands_for=5.2).high
    assert none.high == pytest.approx(0.0503, abs=1e-4)  # 0.0370 for 100 of any


def test_graded_outcomes_of_a_subset() -> None:
    asked = questions([0.2, 0.4, 0.6] * 10)
    whole, part = (from_questions(asked, 0, stands_for=each) for each in (1.0, 4.0))
    assert whole is not None
    assert part is not None
    assert whole.low is not None
    assert part.low is not None
    wider = sqrt((120 - 30) / (120 - 1) * (1 + (1.644854 / 1.959964) ** 2))
    assert 0.4 - part.low == pytest.approx(wider * (0.4 - whole.low), rel=1e-5)
    by_error = from_error(0.4, 0.1, 30, stands_for=4.0)
    assert by_error.high == pytest.approx(0.4 + wider * 0.1959964, abs=1e-6)


def test_pareto_front() -> None:
    assert pareto([(0.1, 0.5), (0.2, 0.6), (0.2, 0.5), (0.1, 0.5)]) == [True, True, False, True]


def test_mean_of_rates_keeps_one_rates_interval_and_narrows_with_more() -> None:
    one = from_counts({"harmful": 24, "scored": 200, "total": 200})
    assert one is not None
    assert mean_rate([one]) == pytest.approx((one.value, one.low, one.high))
    _, low, high = mean_rate([one, one])
    assert one.low is not None
    assert one.high is not None
    assert high - low == pytest.approx((one.high - one.low) / 2**0.5)
