"""The texts behind flips, read again for those who ask for them."""

from pathlib import Path

from safemerge_tasks.gate.decision import GateResult
from safemerge_tasks.results import stream_rows
from safemerge_tasks.results.loading import document_key, latest_samples
from safemerge_tasks.results.texts import question_text, response_text


def flipped_texts(result: GateResult, folder: Path) -> dict[bytes, tuple[str, str]]:
    """Return document key → question and the candidate's response."""
    wanted: dict[str, set[bytes]] = {}
    for one in result.comparisons:
        wanted.setdefault(one.check.task, set()).update(flip.key for flip in one.flips)
    found: dict[bytes, tuple[str, str]] = {}
    for task, path in latest_samples(folder).items():
        keys = wanted.get(task)
        for row in stream_rows(path) if keys else ():
            if keys and (key := document_key(row)) in keys:
                found[key] = (question_text(row), response_text(row))
    return found
