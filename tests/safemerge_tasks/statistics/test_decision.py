"""The rule by hand-made evidence, and the adjustment for a family of tests."""

import random

import pytest
from statsmodels.stats.multitest import multipletests

from safemerge_tasks.statistics.decision import (
    Decision,
    Evidence,
    Finding,
    Limits,
    Rate,
    decide,
    holm,
    severest,
)
from safemerge_tasks.statistics.increase import Increase

SURE = 0.01
OPEN = 0.3


def increase(lower: float, upper: float) -> Increase:
    return Increase((lower + upper) / 2, lower, upper, SURE, 100, 100, 100, 0.1)


def evidence(
    least: tuple[float, float],
    most: tuple[float, float] | None = None,
    p: float = SURE,
    rate: Rate | None = None,
    questions: int = 100,
    share: float = 0.0,
) -> Evidence:
    return Evidence(
        increase(*least),
        increase(*(most or least)),
        rate or Rate(0.1, 0.1, 0.05, 0.15, 100, 100),
        p,
        questions,
        {"have no verdict": share},
    )


def margin(found: Evidence, **more: object) -> Finding:
    (one,) = decide(found, Limits(0.05, **more))  # type: ignore[arg-type]
    return one


def test_the_upper_bound_passes_and_the_lower_one_fails() -> None:
    assert margin(evidence((-0.02, 0.05), p=OPEN)).decision is Decision.PASSED
    assert margin(evidence((-0.02, 0.051), p=OPEN)).decision is Decision.UNDECIDED
    assert margin(evidence((0.001, 0.051))).decision is Decision.REGRESSION
    beyond = margin(evidence((0.06, 0.2)))
    assert beyond.decision is Decision.REGRESSION
    assert beyond.reason == "the increase is at least 6.0%, beyond the margin of 5.0%"


def test_what_is_missing_counts_against_passing_and_against_failing() -> None:
    clean, worst = (-0.02, 0.01), (0.03, 0.06)
    assert margin(evidence(clean, worst, p=OPEN)).decision is Decision.UNDECIDED
    assert margin(evidence((0.01, 0.04), worst)).decision is Decision.REGRESSION
    # Only the worst case is surely worse, so nothing is proven.
    assert margin(evidence(clean, (0.03, 0.04), p=OPEN)).decision is Decision.PASSED


def test_surely_worse_within_the_margin_warns_unless_it_is_to_fail() -> None:
    found = evidence((0.01, 0.04))
    one = margin(found)
    assert (one.decision, one.warning) == (Decision.PASSED, True)
    assert "surely worse" in one.reason
    assert "at least 1.0%" in one.reason
    assert "at most 4.0%" in one.reason
    failed = margin(found, surely_worse_fails=True)
    assert (failed.decision, failed.warning) == (Decision.REGRESSION, False)
    assert not margin(evidence((0.01, 0.04), p=OPEN), surely_worse_fails=True).warning


def test_sure_alone_is_not_sure_in_the_family_and_says_so() -> None:
    one = margin(evidence((0.01, 0.06), p=0.051))
    assert one.decision is Decision.UNDECIDED
    assert "at least 1.0% is sure alone, not among all checks" in one.reason


def test_the_rate_itself_has_bounds_too() -> None:
    def says(low: float, high: float) -> Decision:
        found = evidence((0, 0), rate=Rate(0.1, 0.1, low, high, 100, 100))
        (one,) = decide(found, Limits(max=0.1))
        assert f"{low if one.decision is Decision.REGRESSION else high:.1%}" in one.reason
        return one.decision

    assert says(0.05, 0.1) is Decision.PASSED
    assert says(0.05, 0.101) is Decision.UNDECIDED
    assert says(0.101, 0.2) is Decision.REGRESSION


def test_too_few_questions_decide_nothing_and_unscored_ones_only_keep_from_passing() -> None:
    worse, well = evidence((0.2, 0.3), share=0.06), evidence((-0.1, 0.01), p=OPEN, share=0.06)
    limits = Limits(0.05, shares={"have no verdict": 0.05})
    found = [severest([one.decision for one in decide(side, limits)]) for side in (worse, well)]
    assert found == [Decision.REGRESSION, Decision.UNDECIDED]
    assert decide(well, limits)[0].reason == "6.0% have no verdict, more than 5.0%"
    (few,) = decide(evidence((0.2, 0.3), questions=9), Limits(0.05, min_questions=10))
    assert (few.decision, few.needed) == (Decision.UNDECIDED, 10)


def test_both_limits_are_decided_and_the_severest_counts() -> None:
    found = decide(evidence((0.2, 0.3)), Limits(0.05, 0.2))
    assert [one.decision for one in found] == [Decision.REGRESSION, Decision.PASSED]
    assert severest([]) is Decision.PASSED


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
