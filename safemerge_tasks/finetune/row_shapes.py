"""A training row as a conversation, in whichever of the usual shapes it is written.

Messages (`messages`, or ShareGPT's `conversations`), or a prompt and its response (`prompt` and
`response`, Alpaca's `instruction`, `input` and `output`, and their relatives).
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.exchanges import Exchange, Turn
from safemerge_tasks.finetune.row_files import Row

CONVERSATIONS = ("messages", "conversations", "conversation")
PROMPTS = ("prompt", "question", "instruction", "query", "inputs", "problem")
CONTEXTS = ("input", "context")
"""What Alpaca and Dolly put below the instruction."""
RESPONSES = ("response", "answer", "output", "completion", "targets", "solution")

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


def exchange_of(row: Row, place: str) -> Exchange:
    """Return what a row has to teach; columns that have no part in it are ignored.

    Raises:
        SafemergeError: the row cannot be learnt from: place and fix.
    """
    row = {name: value for name, value in row.items() if value is not None}
    told = [name for name in CONVERSATIONS if name in row]
    if told:
        turns = [_turn(message, place) for message in _listed(row[told[0]], told[0], place)]
    elif isinstance(row.get("prompt"), list):
        answer = row.get("completion")
        last = answer if isinstance(answer, list) else [{"role": "assistant", "content": answer}]
        turns = [_turn(message, place) for message in (*row["prompt"], *last)]
    else:
        turns = [*_history(row, place), *_pair(row, place)]
    if row.get("system") and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": _text(row["system"], "system", place)})
    _check_order(turns, place)
    return Exchange(tuple(turns[:-1]), turns[-1]["content"], place)


def _pair(row: Row, place: str) -> list[Turn]:
    names = PROMPTS if any(name in row for name in PROMPTS) else ("input",)
    prompt, response = _only(row, names, PROMPTS, place), _only(row, RESPONSES, RESPONSES, place)
    # As LLaMA-Factory joins an instruction and its input.
    columns = [one for one in dict.fromkeys((prompt, *CONTEXTS)) if one in row]
    parts = [_text(row[one], one, place, empty=True) for one in columns]
    told = "\n".join(part for part in parts if part.strip())
    return [
        {"role": "user", "content": _text(told, prompt, place)},
        {"role": "assistant", "content": _text(row[response], response, place)},
    ]


def _history(row: Row, place: str) -> list[Turn]:
    """Return the exchanges before an instruction, which LLaMA-Factory's Alpaca rows may have."""
    turns: list[Turn] = []
    for pair in row.get("history") or ():
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise SafemergeError(
                f"{place}: 'history' is not a list of question and answer; write [[...], ...]."
            )
        for role, text in zip(("user", "assistant"), pair, strict=True):
            turns.append({"role": role, "content": _text(text, "history", place)})
    return turns


def _only(row: Row, names: Sequence[str], known: Sequence[str], place: str) -> str:
    found = [name for name in names if name in row]
    if len(found) != 1:
        what = "no" if not found else "more than one of"
        raise SafemergeError(
            f"{place} has {what} {' or '.join(map(repr, known))}; its keys are "
            f"{', '.join(map(str, row)) or 'none'}; give one of them, or {CONVERSATIONS[0]!r}."
        )
    return found[0]


def _text(value: Any, name: str, place: str, *, empty: bool = False) -> str:
    if isinstance(value, list) and all(_is_text_part(part) for part in value):
        value = "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise SafemergeError(f"{place}: {name!r} is not text; write a string.")
    if not value.strip() and not empty:
        raise SafemergeError(f"{place}: {name!r} is empty; fill it or remove the line.")
    return value


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and "text" in part


def _listed(messages: Any, name: str, place: str) -> list[Any]:
    if isinstance(messages, str) and messages.lstrip().startswith("["):  # a cell of a CSV file
        try:
            messages = json.loads(messages)
        except ValueError as error:
            raise SafemergeError(f"{place}: {name!r} is not JSON ({error}); correct it.") from error
    if not isinstance(messages, list) or not messages:
        raise SafemergeError(f"{place}: {name!r} is not a list of turns; write [...].")
    return messages


def _turn(message: Any, place: str) -> Turn:
    given = message if isinstance(message, dict) else {}
    role = given.get("role", given.get("from"))
    if role not in _ROLES:
        said = f" but {role!r}" if isinstance(role, str) else ""
        raise SafemergeError(
            f"{place}: a message has no role system, user or assistant{said}; "
            f"{'remove such turns' if said else 'add it'}."
        )
    content = (
        given["value"] if "content" not in given and "value" in given else given.get("content")
    )
    return {"role": _ROLES[role], "content": _text(content, "content", place)}


def _check_order(turns: list[Turn], place: str) -> None:
    roles = [turn["role"] for turn in turns]
    spoken = roles[1:] if roles[0] == "system" else roles
    if not spoken or spoken[-1] != "assistant":
        raise SafemergeError(
            f"{place}: the last message is not the assistant's, so there is nothing to learn; end "
            "with the response."
        )
    if spoken[0] != "user" or "system" in spoken or any(a == b for a, b in pairwise(spoken)):
        raise SafemergeError(
            f"{place}: after an optional system message, user and assistant must take turns, the "
            "user first; re-order or split the row."
        )
