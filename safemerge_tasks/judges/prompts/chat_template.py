"""A judge's prompt from its checkpoint's own chat template, with holes for an exchange."""

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest.mock import patch

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.engines.weights import check_weights
from safemerge_tasks.judges.prompts.markers import structural_markers
from safemerge_tasks.judges.prompts.tokens import PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Hole(Enum):
    """Where an exchange goes into a conversation."""

    QUESTION = "{prompt}"
    RESPONSE = "{response}"


@dataclass(frozen=True)
class Conversation:
    """What a chat template is asked to render around an exchange.

    Attributes:
        turns: roles, each with the parts of its content.
        reply: the template opens the judge's own turn; a guard's does so unasked.
        variables: further names that the template reads, and their values.
    """

    turns: tuple[tuple[str, tuple[str | Hole, ...]], ...]
    reply: bool = False
    variables: tuple[tuple[str, str], ...] = ()


EXCHANGE = Conversation((("user", (Hole.QUESTION,)), ("assistant", (Hole.RESPONSE,))))
"""Question and response as turns of their own."""

# Stand-ins for question and response; no chat template does anything to letters.
_MARKS = ("safemergequestion", "safemergeresponse")
# Exchanges that show whether a template only inserts its contents, stripped or not.
_PROBES = (
    (' \n Why is it\'s "warm"?\t', "\n One {{ 2 }} & <b>three</b>.\n\nFour\\n \n "),
    ("{response}", "{prompt} {%- x -%}\u3000\u6c34\U0001f642"),
)


def holes_in(text: str) -> tuple[str | Hole, ...]:
    """Return the parts of a text that holds `{prompt}` and then `{response}`, once each."""
    before, _, rest = text.partition(Hole.QUESTION.value)
    between, _, after = rest.partition(Hole.RESPONSE.value)
    return before, Hole.QUESTION, between, Hole.RESPONSE, after


@cache
def chat_prompt(
    model: str, revision: str | None, conversation: Conversation = EXCHANGE
) -> PromptTemplate:
    """Return the prompt that a checkpoint's chat template makes of one exchange.

    Needs the checkpoint's tokenizer only, which every engine loads from the same place.

    Raises:
        SafemergeError: no checkpoint, no tokenizer, or a chat template that does more to a message
            than insert it.
    """
    check_weights(model, revision)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        raise SafemergeError(
            f"{model} has no tokenizer that can be loaded ({type(error).__name__}), and this judge "
            "takes its prompt from it: give judge_model=DIR of a complete checkpoint."
        ) from error
    tokenizer.chat_template = tokenizer.chat_template or _processor_template(model, revision)
    return template_of(tokenizer, model, conversation)


def _processor_template(model: str, revision: str | None) -> str | None:
    """Return the chat template of a multimodal checkpoint that keeps it beside its processor."""
    from transformers.utils import cached_file

    path = cached_file(
        model, "chat_template.json", revision=revision, _raise_exceptions_for_missing_entries=False
    )
    if path is None:
        return None
    template: str | None = json.loads(Path(path).read_text(encoding="utf-8")).get("chat_template")
    return template


def template_of(
    tokenizer: "PreTrainedTokenizerBase", model: str, conversation: Conversation = EXCHANGE
) -> PromptTemplate:
    """Turn a tokenizer's chat template into a prompt with two fields.

    Contents are given as plain strings or, where the template wants that (Llama Guard 4 also takes
    images), as lists of typed parts.

    Raises:
        SafemergeError: there is no chat template, or it does more than insert messages.
    """
    if not tokenizer.chat_template:
        raise SafemergeError(
            f"{model} has no chat template, and this judge takes its prompt from it: give "
            "judge_model=DIR of such a checkpoint."
        )
    for parts in (False, True):
        text = _rendered(tokenizer, conversation, *_MARKS, parts=parts)
        if text is None or any(text.count(mark) != 1 for mark in _MARKS):
            continue
        if any(hole.value in text for hole in Hole):
            continue
        text = text.replace(_MARKS[0], "{prompt}").replace(_MARKS[1], "{response}")
        for stripped in (False, True):
            if all(
                _rendered(tokenizer, conversation, *probe, parts=parts)
                == _filled(text, *probe, stripped)
                for probe in _PROBES
            ):
                # The chat template writes BOS itself, so the tokenizer must not add another.
                return PromptTemplate(
                    text, structural_markers(text), stripped=stripped, special_tokens=False
                )
    raise SafemergeError(
        f"The chat template of {model} does more to this judge's messages than insert them, so it "
        "belongs to another model: give judge_model=DIR of a checkpoint of the judge's kind."
    )


def _rendered(
    tokenizer: "PreTrainedTokenizerBase",
    conversation: Conversation,
    question: str,
    response: str,
    *,
    parts: bool,
) -> str | None:
    messages = []
    for role, pieces in conversation.turns:
        text = _joined(pieces, question, response)
        content: Any = [{"type": "text", "text": text}] if parts else text
        messages.append({"role": role, "content": content})
    try:
        with _some_day():
            return str(
                tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    add_generation_prompt=conversation.reply,
                    **dict(conversation.variables),
                )
            )
    except Exception:  # whatever the template's own code raises
        return None


class _SomeDay(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 1, 1, tzinfo=tz)


def _some_day() -> AbstractContextManager[Any]:
    """Set the clock of templates that write the date: every day has the same prompt.

    transformers 5.24 takes no function of ours in the place of its own.
    """
    return patch("transformers.utils.chat_template_utils.datetime", _SomeDay)


def _filled(text: str, question: str, response: str, stripped: bool) -> str:
    if stripped:
        question, response = question.strip(), response.strip()
    return _joined(holes_in(text), question, response)


def _joined(pieces: Iterable[str | Hole], question: str, response: str) -> str:
    contents = {Hole.QUESTION: question, Hole.RESPONSE: response}
    return "".join(piece if isinstance(piece, str) else contents[piece] for piece in pieces)
