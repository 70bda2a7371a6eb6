"""The texts behind flips, read again for those who ask for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safemerge_tasks.gate.comparison import Flip
from safemerge_tasks.gate.decision import GateResult
from safemerge_tasks.results import is_results_file, stream_rows
from safemerge_tasks.results.loading import document_key, latest_samples
from safemerge_tasks.results.texts import question_text, response_text


class Texts(NamedTuple):
    """A question and what was answered.

    Attributes:
        question: its text.
        response: the candidate's.
        before: the baseline's; None where only its verdicts are known.
    """

    question: str
    response: str
    before: str | None


Place = tuple[str, bytes]
"""A task and a document's key."""


def place(flip: Flip) -> Place:
    """Return where a flip's texts are."""
    return flip.task, flip.key


def flipped_texts(result: GateResult, candidate: Path, baseline: Path) -> dict[Place, Texts]:
    """Return the texts of all questions that are worse, of what still has them."""
    new = _read(result, candidate)
    old = _read(result, baseline)
    return {
        where: Texts(question, response, old[where][1] if where in old else None)
        for where, (question, response) in new.items()
    }


def _read(result: GateResult, folder: Path) -> Mapping[Place, tuple[str, str]]:
    """Return question and response; nothing of a frozen baseline, which holds no text."""
    if folder.is_file() and not is_results_file(folder):
        return {}
    wanted = {place(flip) for one in result.comparisons for flip in one.flips}
    tasks = {task for task, _ in wanted}
    return {
        (task, key): (question_text(row), response_text(row))
        for task, path in latest_samples(folder).items()
        if task in tasks
        for row in stream_rows(path)
        if (task, key := document_key(row)) in wanted
    }
