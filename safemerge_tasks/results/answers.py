"""The answers in saved rows, read as during the evaluation."""

from collections.abc import Mapping
from typing import Any

from safemerge_tasks.results.samples import Row
from safemerge_tasks.results.stored import stored_by_us
from safemerge_tasks.verdicts.answer import Answer, read_answer
from safemerge_tasks.verdicts.thinking_formats import AUTO, OFF
from safemerge_tasks.verdicts.unasked import why_unasked


def stored_thinking(config: Mapping[str, Any]) -> str:
    """Return the setting of thinking under which a task was evaluated."""
    stored = stored_by_us(config).get("thinking")
    return str(stored.get("format", AUTO)) if isinstance(stored, dict) else AUTO


GEN_PREFIX = "gen_prefix"
"""The key of a document that says what its answer was begun with, where it was."""


def saved_answer(
    row: Row,
    response: object,
    config: Mapping[str, Any],
    thinking: str,
    *,
    truncated: bool | None = None,
) -> Answer:
    """Return the answer in one of a saved row's responses.

    Args:
        row: of a samples file.
        response: as it is there.
        config: the task's, as its results file has it.
        thinking: a value of `ThinkingSettings.format`.
        truncated: the response reached its token limit; None where the row alone may tell.
    """
    if truncated is None:
        truncated = row.get("truncated_rate") == 1
    metadata = config.get("metadata")
    return begun_answer(
        response, _prompt(row), row.get("doc"), metadata, thinking, truncated=truncated
    )


def begun_answer(
    response: object,
    prompt: object,
    document: object,
    metadata: Mapping[str, Any] | None,
    thinking: str,
    *,
    truncated: bool | None,
) -> Answer:
    """Return the answer in a response, with what it was begun with; see `read_answer`.

    A beginning that the model adds nothing to is no answer of its own.

    Args:
        response: what the model wrote.
        prompt: what it was asked, the beginning included.
        document: the question, whose `gen_prefix` the answer was begun with.
        metadata: the task's.
        thinking: a value of `ThinkingSettings.format`.
        truncated: the response reached its token limit; None where that is not known.
    """
    asked = opening_prompt(prompt, metadata, truncated=truncated)
    beginning = document.get(GEN_PREFIX) if isinstance(document, Mapping) else None
    written = read_answer(response, asked, OFF)
    if not beginning or written.text is None:
        return read_answer(response, asked, thinking)
    if isinstance(asked, str):
        # A template may have dropped white space at its end.
        ends = (end for end in (beginning, beginning.rstrip()) if asked.endswith(end))
        asked = asked.removesuffix(next(ends, ""))
    return read_answer(f"{beginning}{written.text}", asked, thinking)


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


def all_responses(row: Row) -> list[list[object]]:
    """Return a row's responses, one list for each request; a question is asked one or several.

    Raises:
        KeyError: there is none; IndexError and TypeError likewise.
    """
    requests = [one if isinstance(one, list) else [one] for one in row["resps"]]
    if not requests:
        raise IndexError("no request")
    return [one or [None] for one in requests]


def _prompt(row: Row) -> object:
    """Return what was asked, in the form of any lm-eval: its first argument."""
    found: object = row.get("arguments")
    while isinstance(found, (dict, list)) and found:
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    return found
