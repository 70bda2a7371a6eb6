"""One answer that an encoder fails on costs that answer."""

from collections.abc import Sequence

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.metrics.bertscore import score_each
from safemerge_tasks.metrics.reference_score import Similarity

SAME = Similarity(1.0, 1.0, 1.0)


class Fails:
    """Fails on batches with certain words in them."""

    def __init__(self, *words: str, error: Exception | None = None) -> None:
        self.words = words
        self.error = error or TypeError("not a string")
        self.asked: list[list[str]] = []

    def score(self, answers: Sequence[str], references: Sequence[str]) -> list[Similarity]:
        assert len(answers) == len(references)
        self.asked.append(list(answers))
        if any(word in answer for word in self.words for answer in answers):
            raise self.error
        return [SAME] * len(answers)


def test_all_at_once_where_nothing_fails() -> None:
    scorer = Fails()
    assert score_each(scorer, ["a", "b"], ["r", "s"]) == ([SAME, SAME], [None, None])
    assert scorer.asked == [["a", "b"]]


@pytest.mark.parametrize("odd", ["first", "third", "last"])
def test_an_odd_answer_costs_itself(odd: str) -> None:
    answers = ["first", "second", "third", "last"]
    similarities, reasons = score_each(Fails(odd), answers, ["r"] * 4)
    assert [one is None for one in similarities] == [answer == odd for answer in answers]
    assert [one for one in reasons if one] == ["TypeError: not a string"]


def test_an_encoder_that_fails_on_all_is_not_asked_for_each() -> None:
    scorer = Fails("")
    similarities, reasons = score_each(scorer, ["a"] * 50, ["r"] * 50)
    assert similarities == [None] * 50
    assert reasons == ["TypeError: not a string"] * 50
    assert len(scorer.asked) == 4


def test_an_encoder_that_cannot_be_had_is_asked_for_once() -> None:
    scorer = Fails("", error=SafemergeError("no weights"))
    assert score_each(scorer, ["a", "b"], ["r", "s"])[1] == ["SafemergeError: no weights"] * 2
    assert len(scorer.asked) == 1
