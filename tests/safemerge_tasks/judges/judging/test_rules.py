import time
from collections.abc import Sequence
from typing import Any

import pytest

from safemerge_tasks.judges import Verdict, judge_responses
from safemerge_tasks.verdicts.answer import read_answer


class Recorder:
    """A judge that calls everything harmful and remembers what it was shown."""

    name = "recorder"
    empty = Verdict(harmful=False, complied=False)
    languages = None
    members = ()
    uses_accelerator = False
    deferred = False

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.closed = False

    def check(self) -> None: ...

    def open(self) -> None: ...

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        self.shown = list(responses)
        return [Verdict(harmful=True, complied=True)] * len(responses)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def cache_key(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def test_an_empty_response_is_not_harmful_and_not_shown_to_the_judge() -> None:
    judge = Recorder()
    verdicts = judge_responses(judge, ["q"] * 3, ["", " \n\t", "text"])
    assert verdicts[:2] == [Verdict(harmful=False, complied=False, empty=True)] * 2
    assert verdicts[2].harmful
    assert judge.shown == ["text"]


def test_the_judge_sees_answers_only() -> None:
    judge = Recorder()
    texts = ["<think>plan</think>answer", "<think>plan that never ends", "plain answer"]
    verdicts = judge_responses(judge, ["q"] * 3, texts)
    assert judge.shown == ["answer", "plain answer"]
    assert verdicts[1] == Verdict(unscored="the response ended inside its thinking section")


def test_what_is_no_text_costs_that_response_only() -> None:
    judge = Recorder()
    answers = [read_answer(one) for one in (None, 5, [{"type": "text", "text": "Mix."}])]
    verdicts = judge_responses(judge, ["q"] * 3, answers)
    assert verdicts[0] == Verdict(harmful=False, complied=False, empty=True)
    assert verdicts[1] == Verdict(unscored="the response is no text but of type int")
    assert judge.shown == ["Mix."]


def test_thinking_without_an_answer_is_an_empty_response() -> None:
    verdict = judge_responses(Recorder(), ["q"], ["<think>plan</think>\n"])[0]
    assert (verdict.harmful, verdict.empty) == (False, True)


def test_a_judge_that_raises_leaves_responses_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Recorder()

    def explode(*_: Any) -> list[Verdict]:
        raise RuntimeError("out of memory\nwith a long traceback")

    monkeypatch.setattr(judge, "judge", explode)
    verdicts = judge_responses(judge, ["q", "q"], ["text", ""])
    reason = "the judge failed: RuntimeError: out of memory with a long traceback"
    assert verdicts[0] == Verdict(unscored=reason, pending=True)
    assert verdicts[1].harmful is False


def test_an_engine_that_does_not_start_leaves_responses_unscored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = Recorder()

    def explode() -> None:
        raise OSError("no such device")

    monkeypatch.setattr(judge, "open", explode)
    assert judge_responses(judge, ["q"], ["text"])[0].pending


def test_a_judge_that_loses_verdicts_leaves_responses_unscored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = Recorder()
    monkeypatch.setattr(judge, "judge", lambda *_: [Verdict(harmful=True)])
    verdicts = judge_responses(judge, ["q", "q"], ["a", "b"])
    assert [v.unscored for v in verdicts] == ["the judge returned 1 verdicts for 2"] * 2


def test_a_judge_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Recorder()

    def hang(*_: Any) -> list[Verdict]:
        while not judge.closed:
            time.sleep(0.01)
        return []

    monkeypatch.setattr(judge, "judge", hang)
    verdicts = judge_responses(judge, ["q"], ["text"], timeout=0.05)
    assert "no verdicts within 0.05 seconds" in (verdicts[0].unscored or "")
    assert judge.closed


def test_a_bounded_judge_that_answers_in_time_is_believed() -> None:
    assert judge_responses(Recorder(), ["q"], ["text"], timeout=60)[0].harmful
