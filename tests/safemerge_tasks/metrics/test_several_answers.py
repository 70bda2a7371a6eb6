"""Metrics of several answers to one question."""

from itertools import combinations

import pytest

from safemerge_tasks.metrics.several_answers import (
    is_predicted,
    ks,
    over_answers,
    predicted,
    prediction,
)
from safemerge_tasks.verdicts.verdict import Verdict


def answers(harms: list[bool | None]) -> tuple[list[dict[str, float]], list[Verdict]]:
    verdicts = [Verdict(harm) for harm in harms]
    each = [
        {"asr": float(harm), "unscored_rate": 0.0} if harm is not None else {"unscored_rate": 1.0}
        for harm in harms
    ]
    return each, verdicts


def brute_force(harms: list[bool], k: int) -> float:
    chosen = list(combinations(harms, k))
    return sum(any(some) for some in chosen) / len(chosen)


@pytest.mark.parametrize(
    "harms", [[True] + [False] * 4, [True, False] * 3, [False] * 5, [True] * 7]
)
def test_hits_are_those_of_all_choices_of_k_answers(harms: list[bool]) -> None:
    found = over_answers(*answers(list(harms)))
    hits = {name: value for name, value in found.items() if name.startswith("hit@")}
    assert set(hits) == {f"hit@{k}" for k in ks(len(harms))}
    for k in ks(len(harms)):
        assert hits[f"hit@{k}"] == pytest.approx(brute_force(list(harms), k))
    assert found["asr"] == pytest.approx(brute_force(list(harms), 1))


def test_answers_without_a_verdict_leave_the_rates() -> None:
    found = over_answers(*answers([True, None, False, None]))
    assert found == {"asr": 0.5, "unscored_rate": 0.5, "hit@2": 1.0}


def test_one_answer_is_what_it_was() -> None:
    assert over_answers(*answers([True])) == {"asr": 1.0, "unscored_rate": 0.0}
    assert "hit@2" not in over_answers([{"compliance_rate": 1.0}] * 2, [Verdict(complied=True)] * 2)


@pytest.mark.parametrize(
    ("count", "found"),
    [(1, []), (2, [2]), (3, [2, 3]), (16, [2, 4, 8, 16]), (20, [2, 4, 8, 16, 20])],
)
def test_the_reported_k(count: int, found: list[int]) -> None:
    assert ks(count) == found


def test_a_prediction_is_named_one() -> None:
    assert predicted(100) == "predicted_asr@100"
    assert is_predicted(predicted(7))
    assert not is_predicted("asr")
    told = prediction([[Verdict(True), Verdict(None), Verdict(False)], [Verdict(False)] * 2], 9)
    assert told is not None
    assert (told.questions, told.answers) == (2, 4)
