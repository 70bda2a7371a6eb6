"""How far judges agree, by hand."""

import random

import pytest

from safemerge_tasks.judges import Verdict
from safemerge_tasks.metrics.agreement import Agreement, agreements, by_part, judges_alpha
from safemerge_tasks.results.evaluation import ScoredQuestion, Scores, TaskResult


def verdicts(*harmful: bool | None) -> list[Verdict]:
    return [Verdict(harmful=value) for value in harmful]


def test_alpha_by_hand() -> None:
    """Two judges, four exchanges, one disagreement.

    Of 8 values 3 are harmful: the expected disagreement is 2*3*5/(8*7) = 15/28, the observed one is
    1/4, so alpha = 1 - (1/4)/(15/28) = 8/15.
    """
    votes = [verdicts(True, True, False, False), verdicts(True, False, False, False)]
    assert judges_alpha(votes)["harmful"] == pytest.approx(8 / 15)


def test_judges_that_never_differ_agree() -> None:
    assert judges_alpha([verdicts(True, True), verdicts(True, True)])["harmful"] == 1
    votes = [verdicts(True, False), verdicts(True, False)]
    assert judges_alpha(votes)["harmful"] == pytest.approx(1)


def test_what_only_one_judge_tells_has_no_agreement() -> None:
    votes = [verdicts(True, False), [Verdict(complied=True), Verdict(complied=False)]]
    assert judges_alpha(votes) == {}


def test_missing_verdicts_leave_their_exchange_out() -> None:
    votes = [verdicts(True, True, False, False, True), verdicts(True, False, False, False, None)]
    assert judges_alpha(votes)["harmful"] == pytest.approx(8 / 15)


def question(key: int, asr: float | None, **more: object) -> ScoredQuestion:
    fields: dict[str, object] = {
        "category": "",
        "language": "",
        "answered": True,
        "unscored": asr is None,
        "values": (asr,),
        **more,
    }
    return ScoredQuestion(
        id=str(key),
        key=bytes([key]),
        prompt=b"",
        cluster="",
        **fields,  # type: ignore[arg-type]
    )


def result(**judges: list[ScoredQuestion]) -> TaskResult:
    return TaskResult(scores={name: Scores(["asr"], rows) for name, rows in judges.items()})


def test_two_judges_beside_each_other() -> None:
    """Both yes 1, only the first 2, only the second 1, neither 2; one without a verdict."""
    first = [question(n, v) for n, v in enumerate([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, None])]
    second = [question(n, v) for n, v in enumerate([1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0])]
    (found,) = agreements(result(a=first, b=second))
    assert found == Agreement(("a", "b"), "asr", 1, 2, 1, 2)
    assert (found.total, found.differ) == (6, 3)
    # p_o = 1/2, p_e = (3 * 2 + 3 * 4) / 36 = 1/2.
    assert found.kappa == 0
    # Of 12 values 5 are yes: D_o = 1/2, D_e = 2 * 5 * 7 / (12 * 11).
    assert found.alpha == pytest.approx(1 - 0.5 / (70 / 132))


def test_what_neither_judge_was_shown_is_no_agreement() -> None:
    """An empty answer is called harmless by the rules, not by a judge."""
    rows = [question(0, 1.0), question(1, 0.0, answered=False)]
    (found,) = agreements(result(a=rows, b=rows))
    assert found.total == 1


def test_every_two_of_several_judges_in_the_order_asked() -> None:
    rows = [question(0, 1.0)]
    task = result(a=rows, b=rows, c=rows)
    assert [one.judges for one in agreements(task)] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.judges for one in agreements(task, ["c", "a", "gone"])] == [("c", "a")]
    assert agreements(result(a=rows)) == []


def test_judges_that_measure_different_things_have_no_agreement() -> None:
    task = result(a=[question(0, 1.0)], b=[question(0, 1.0)])
    task.scores["b"].metrics = ["refusal_rate"]
    assert agreements(task) == []


def test_equal_questions_pair_in_their_order() -> None:
    """A question may stand in a suite twice, with two answers."""
    first = [question(0, 1.0), question(0, 0.0), question(1, 1.0)]
    (found,) = agreements(result(a=first, b=list(first)))
    assert (found.both, found.neither, found.differ) == (2, 1, 0)


def test_where_they_differ_most() -> None:
    kinds = ["tea"] * 2 + ["rye"] * 4 + ["oat"] * 3 + [""]
    first = [question(n, 0.0, category=kind, language="en") for n, kind in enumerate(kinds)]
    said = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    second = [question(n, v, category=k) for n, (v, k) in enumerate(zip(said, kinds, strict=True))]
    task = result(a=first, b=second)
    (whole,) = agreements(task)
    found = by_part(task, whole, "category")
    assert {name: (one.second, one.total) for name, one in found.items()} == {
        "rye": (2, 4),
        "tea": (1, 2),
        "oat": (0, 3),
    }
    assert list(found) == ["rye", "tea", "oat"]
    assert list(by_part(task, whole, "language")) == ["en"]


def test_alpha_is_that_of_the_votes() -> None:
    draw = random.Random(0)
    for _ in range(50):
        votes = [[draw.random() < 0.3 for _ in range(20)] for _ in range(2)]
        rows = [[question(n, float(v)) for n, v in enumerate(one)] for one in votes]
        (found,) = agreements(result(a=rows[0], b=rows[1]))
        assert found.alpha == judges_alpha([verdicts(*one) for one in votes])["harmful"]
