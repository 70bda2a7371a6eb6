"""The texts behind flips, read again for those who ask for them."""

from pathlib import Path

from safemerge_tasks.gate.comparison import GateReport
from safemerge_tasks.gate.loading import document_key, latest_samples
from safemerge_tasks.results import stream_rows

LIMIT = 1000
"""A response of thousands of characters would bury the report."""


def flipped_texts(report: GateReport, folder: Path) -> dict[bytes, tuple[str, str]]:
    """Return document key → question and the candidate's response, each cut at `LIMIT`."""
    wanted: dict[str, set[bytes]] = {}
    for one in report.comparisons:
        wanted.setdefault(one.check.task, set()).update(flip.key for flip in one.flips)
    found: dict[bytes, tuple[str, str]] = {}
    for task, path in latest_samples(folder).items():
        keys = wanted.get(task)
        for row in stream_rows(path) if keys else ():
            if keys and (key := document_key(row)) in keys:
                found[key] = (question_text(row)[:LIMIT], response_text(row)[:LIMIT])
    return found


def question_text(row: dict[str, object]) -> str:
    """Return what a sample's document asks."""
    document = row.get("doc")
    text = document.get("question") if isinstance(document, dict) else None
    return text if isinstance(text, str) else str(document)


def response_text(row: dict[str, object]) -> str:
    """Return what the model under test answered, the first of several responses."""
    inner: object = row.get("resps")
    while isinstance(inner, list) and inner:
        inner = inner[0]
    return str(inner)
