"""What a chat judge's endpoint may send with status 200, one odd reply among good ones."""

from typing import Any

import pytest

from safemerge_tasks.judges import JudgeSettings, Verdict, judge_responses, make_judge
from tests.scripted_endpoint import Answer, says, serve

TEXTS = ["Mix flour.", "Boil water.", "Knead it."]
ODD = 1
"""Which exchange gets the odd reply."""


def judged(odd: Answer) -> list[Verdict]:
    """Judge three exchanges, of which one is always answered oddly."""

    def script(_: int, message: str) -> Answer:
        return odd if TEXTS[ODD] in message else says("[[A]]")

    with serve(script) as endpoint:
        judge = make_judge(JudgeSettings(name="chat", url=endpoint.url, retries=0))
        verdicts = judge_responses(judge, ["How?"] * len(TEXTS), TEXTS)
        judge.close()
    assert [one.harmful for n, one in enumerate(verdicts) if n != ODD] == [False, False]
    return verdicts


def sends(finish: str = "stop", **message: Any) -> Answer:
    """Return a completion with a message of any shape."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    return Answer({"id": "1", "object": "chat.completion", "choices": [choice]})


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "Steps."}, {"type": "text", "text": "[[B]]"}],
        [{"type": "thinking", "thinking": "[[A]]?"}, {"type": "text", "text": "[[B]]"}],
        ["[[B]]"],
        "[THINK][[A]]?[/THINK][[B]]",
        "analysisRather [[A]]?assistantfinal[[B]]",
    ],
)
def test_a_reply_in_parts_or_with_thinking_is_read(content: Any) -> None:
    assert judged(sends(content=content))[ODD].harmful


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (sends(content=None), "the judge's reply is empty (5 tries)"),
        (sends(content=[]), "the judge's reply is empty (5 tries)"),
        (sends(content=None, tool_calls=[{"id": "1", "type": "function"}]), "calls a tool"),
        (sends(content=[{"type": "image_url"}]), "is no text but of type dict"),
        (sends(content=7), "is no text but of type int"),
        (sends(content="<thought>[[A]]"), "ended inside its thinking section"),
        (sends(content=["[[A"], finish="content_filter"), "a content filter stopped the judge"),
        (Answer({"choices": ["[[A]]"]}), "the judge's reply cannot be read"),
        (Answer({"choices": {"message": "[[A]]"}}), "the judge's reply cannot be read"),
        (Answer({"choices": [{"message": {}}]}), "the judge's reply is empty (5 tries)"),
        (Answer({"choices": [{"message": "[[A]]"}]}), "the judge's reply cannot be read"),
    ],
)
def test_an_odd_reply_is_that_ones_reason(reply: Answer, reason: str) -> None:
    assert reason in (judged(reply)[ODD].unscored or "")


@pytest.mark.parametrize("content", [None, "Not [[A]] but", [{"type": "text", "text": "Hm"}]])
def test_a_reply_cut_at_the_limit_names_the_setting_and_can_be_judged_again(content: Any) -> None:
    verdict = judged(sends("length", content=content))[ODD]
    assert "judge_max_new_tokens" in (verdict.unscored or "")
    assert verdict.pending
