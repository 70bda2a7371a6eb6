"""The answers in saved rows, read as during the evaluation."""

from collections.abc import Mapping
from typing import Any

from safemerge_tasks.results.samples import Row
from safemerge_tasks.results.stored import stored_by_us
from safemerge_tasks.verdicts.answer import Answer, read_answer
from safemerge_tasks.verdicts.thinking_formats import AUTO
from safemerge_tasks.verdicts.unasked import why_unasked


def stored_thinking(config: Mapping[str, Any]) -> str:
    """Return the setting of thinking under which a task was evaluated."""
    stored = stored_by_us(config).get("thinking")
    return str(stored.get("format", AUTO)) if isinstance(stored, dict) else AUTO


def saved_answer(row: Row, response: object, config: Mapping[str, Any], thinking: str) -> Answer:
    """Return the answer in one of a saved row's responses.

    Args:
        row: of a samples file.
        response: as it is there.
        config: the task's, as its results file has it.
        thinking: a value of `ThinkingSettings.format`.
    """
    truncated = row.get("truncated_rate") == 1
    prompt = opening_prompt(_prompt(row), config.get("metadata"), truncated=truncated)
    return read_answer(response, prompt, thinking)


def opening_prompt(
    prompt: object, metadata: Mapping[str, Any] | None, *, truncated: bool | None
) -> object:
    """Return the prompt, or nothing where its opening tells nothing of the response.

    With `think_end_token` among its model arguments, which it keeps in every task's metadata,
    lm-eval has cut off the thinking with its end. Only a response that still reaches the token
    limit had no end, because a shortened one cannot.
    """
    cut = (metadata or {}).get("think_end_token") and not truncated
    return "" if cut and why_unasked(prompt) is None else prompt


def first_response(row: Row) -> object:
    """Return a row's response, the first of several.

    Raises:
        KeyError: there is none; IndexError and TypeError likewise.
    """
    first = row["resps"][0]
    if not isinstance(first, list):
        return first
    return first[0] if first else None


def _prompt(row: Row) -> object:
    """Return what was asked, in the form of any lm-eval: its first argument."""
    found: object = row.get("arguments")
    while isinstance(found, (dict, list)) and found:
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    return found
