"""What the model under test answered: a text, or none with a reason. Every scorer reads this."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import whitespace
from typing import Any

from safemerge_tasks.verdicts.harmony import final_message
from safemerge_tasks.verdicts.no_answer import EMPTY, ODD, TOOL_CALL, UNASKED, NoAnswer
from safemerge_tasks.verdicts.thinking_formats import AUTO, OFF, after_thinking
from safemerge_tasks.verdicts.unasked import why_unasked

VERSION = 1
"""Raised whenever `read_answer` may find another answer in the same response."""

INVISIBLE = f"{whitespace}\x85\xa0\u200b\u200c\u200d\u2028\u2029\u2060\u3000\ufeff"
"""White space, and characters without a width."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A text, or none.

    Attributes:
        text: as it was written, white space included; None where there is no answer.
        reason: why there is none, worded to follow "the response"; empty where there is one.
    """

    text: str | None
    reason: str = ""

    @property
    def empty(self) -> bool:
        """Whether nothing was written, or nothing after the thinking."""
        return self.reason == EMPTY


def read_answer(response: object, prompt: object = "", thinking: str = AUTO) -> Answer:
    """Return the answer in a response, and never raise for what a model or a file holds.

    Args:
        response: what lm-eval or an endpoint gives: a text, None, a list of a message's parts.
        prompt: what was asked, whose end may open a thinking section, or why it was not; anything
            but text is none.
        thinking: a value of `ThinkingSettings.format`.
    """
    why = why_unasked(prompt)
    if why is not None:
        return Answer(None, UNASKED.format(why=why))
    try:
        text = _text(response)
        if thinking != OFF and text.strip(INVISIBLE):
            asked = prompt if isinstance(prompt, str) else ""
            found = final_message(text, asked) if thinking == AUTO else None
            text = after_thinking(text, asked, thinking) if found is None else found
    except NoAnswer as none:
        return Answer(None, str(none))
    return Answer(text) if text.strip(INVISIBLE) else Answer(None, EMPTY)


def applied(thinking: str) -> dict[str, Any]:
    """Return what results keep of how answers were found."""
    return {"format": thinking, "version": VERSION}


def _text(response: object) -> str:
    """Return the text of a message or of its parts; those that think are left out.

    Raises:
        NoAnswer: there is no text, and not because nothing was written.
    """
    if isinstance(response, Mapping) and "content" in response:
        if not response["content"] and response.get("tool_calls"):
            raise NoAnswer(TOOL_CALL)
        response = response["content"] or response.get("refusal")
    if response is None:
        return ""
    parts = response if isinstance(response, (list, tuple)) else [response]
    texts = [_part(part) for part in parts]
    if parts and not any(text is not None for text in texts):
        if any(isinstance(part, Mapping) and "tool" in str(part.get("type")) for part in parts):
            raise NoAnswer(TOOL_CALL)
        raise NoAnswer(ODD.format(kind=f"of type {type(parts[0]).__name__}"))
    return "".join(text for text in texts if text is not None)


def _part(part: object) -> str | None:
    """Return the text of one part; None where it is of another kind."""
    if part is None or isinstance(part, str):
        return part or ""
    if isinstance(part, Mapping):
        if part.get("type") in ("thinking", "reasoning"):
            return ""
        part = next((part[key] for key in ("text", "refusal") if key in part), None)
        return part if isinstance(part, str) else None
    found = getattr(part, "text", None)
    return found if isinstance(found, str) else None
