"""Training rows from one's own file: JSON lines, each a prompt and its response or messages."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.exchanges import Exchange, TuningData, Turn, without_repeats
from safemerge_tasks.suites.sampling import divide
from safemerge_tasks.suites.spec import HoldOut

_PROMPTS = ("prompt", "question")
_RESPONSES = ("response", "answer")
_MESSAGES = "messages"
DEFAULT_SHARE = 0.1
_ROLES = ("system", "user", "assistant")


def own_rows(path: Path, split_seed: int, share: float | None, system_prompt: str) -> TuningData:
    """Return the rows of a file, divided by the order of a hash of seed and text.

    Args:
        path: the file.
        split_seed: the order's.
        share: of the rows, for validation; 0.1 unless given, none if 0.
        system_prompt: for rows that have none of their own.

    Raises:
        SafemergeError: a row cannot be learnt from: file, line and fix.
    """
    rows = list(_exchanges(path))
    if not rows:
        raise SafemergeError(f"{path} has no rows; give one JSON object a line.")
    share = DEFAULT_SHARE if share is None else share
    if share == 0:
        return TuningData(path.name, rows, [], system_prompt, split_seed)
    rest, validation = (_part(path, rows, split_seed, share, keep) for keep in ("rest", "held_out"))
    train, left_out = without_repeats(rest, validation)
    return TuningData(path.name, train, validation, system_prompt, split_seed, left_out)


def _part(path: Path, rows: list[Exchange], seed: int, share: float, keep: str) -> list[Exchange]:
    hold_out = HoldOut.model_validate({"seed": seed, "share": share, "keep": keep})
    if round(len(rows) * share) in (0, len(rows)):
        raise SafemergeError(
            f"{path} has {len(rows)} rows, too few to hold {share:g} of them out for validation; "
            "add rows or set `validation_share: 0`."
        )
    # The place finds the row again: rows may be equal.
    questions = [
        {"category": "", "subcategory": "", "question": row.question, "place": str(place)}
        for place, row in enumerate(rows)
    ]
    return [rows[int(one["place"])] for one in divide(questions, hold_out, path.name)]


def _exchanges(path: Path) -> Iterator[Exchange]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise SafemergeError(
            f"{path} is not UTF-8 text (byte {error.start}); convert it."
        ) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _exchange(_parsed(line, f"{path}, line {number}"), f"{path}, line {number}")


def _parsed(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SafemergeError(f"{place} is not JSON ({error}); put one object on a line.") from error
    if not isinstance(row, dict):
        raise SafemergeError(f"{place} is not a JSON object; write {{...}}.")
    return row


def _exchange(row: dict[str, Any], place: str) -> Exchange:
    if _MESSAGES in row:
        turns = [_turn(message, place) for message in _listed(row[_MESSAGES], place)]
        _check_order(turns, place)
        return Exchange(tuple(turns[:-1]), turns[-1]["content"], place)
    prompt, response = _field(row, _PROMPTS, place), _field(row, _RESPONSES, place)
    return Exchange(({"role": "user", "content": prompt},), response, place)


def _field(row: dict[str, Any], names: tuple[str, ...], place: str) -> str:
    found = [name for name in names if name in row]
    if len(found) != 1:
        what = "no" if not found else "more than one of"
        raise SafemergeError(
            f"{place} has {what} {' or '.join(map(repr, names))}; its keys are "
            f"{', '.join(map(str, row)) or 'none'}; give one of them, or {_MESSAGES!r}."
        )
    return _text(row[found[0]], found[0], place)


def _text(value: Any, name: str, place: str) -> str:
    if not isinstance(value, str):
        raise SafemergeError(f"{place}: {name!r} is not text; write a string.")
    if not value.strip():
        raise SafemergeError(f"{place}: {name!r} is empty; fill it or remove the line.")
    return value


def _listed(messages: Any, place: str) -> list[Any]:
    if not isinstance(messages, list) or not messages:
        raise SafemergeError(f"{place}: {_MESSAGES!r} is not a list of turns; write [...].")
    return messages


def _turn(message: Any, place: str) -> Turn:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise SafemergeError(
            f"{place}: a message has no role {', '.join(_ROLES[:-1])} or {_ROLES[-1]}; add it."
        )
    return {"role": message["role"], "content": _text(message.get("content"), "content", place)}


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
