"""Annotations and the step summary of GitHub Actions."""

import os
from dataclasses import replace
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Document, Section
from safemerge_tasks.report.printable import printable
from safemerge_tasks.report.renderers.markdown import as_markdown

SUMMARY_BYTES = 1024 * 1024
"""GitHub's limit of a step summary, beyond which it shows none of it."""

ROWS = (None, 200, 50, 10)
"""Of a table, tried in this order until a page fits."""

CUT = "The report is too long for a step summary; the files of the run have all of it."

LEVELS = {"bad": "error", "unsure": "warning"}


def annotations(document: Document) -> list[str]:
    """Return one workflow command for each case that is not good, or good with a warning."""
    levels = [
        (LEVELS.get(one.mark.tone, "warning" if one.warning else ""), one) for one in document.cases
    ]
    return [
        f"::{level} title={_property(f'safemerge: {one.task}')}::"
        f"{_data(f'{one.name}: {one.mark.text}: {one.reason}')}"
        for level, one in levels
        if level
    ]


def summary_page(document: Document, room: int = SUMMARY_BYTES) -> str:
    """Return as much of a document as a step summary can hold, as Markdown.

    Args:
        document: what to show.
        room: bytes that are left.

    Returns:
        The whole page; else one without texts and with fewer and fewer rows; at last the first
        section's notes alone, and what is left out is said.
    """
    pages = (as_markdown(_with_rows(document, rows), level=2) for rows in ROWS)
    headline = replace(document, sections=(Section("", (CUT,)),))
    short = (as_markdown(headline, level=2),)
    return next((page for page in (*pages, *short) if _bytes(page) < room), "")


def announce(document: Document) -> None:
    """Print annotations and append to the step summary, where GitHub runs this."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in annotations(document):
        print(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        path = Path(summary)
        try:
            # Whatever the step wrote before counts as well.
            written = path.stat().st_size if path.exists() else 0
            with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(summary_page(document, SUMMARY_BYTES - written))
        except OSError as error:
            raise SafemergeError(
                f"GITHUB_STEP_SUMMARY={summary} cannot be written ({error.strerror})."
            ) from error


def _with_rows(document: Document, rows: int | None) -> Document:
    """Return a document with so many rows a table and no texts; all of it for None."""
    if rows is None:
        return document
    sections = (
        replace(one, excerpts=(), limit=rows if one.limit is None else min(one.limit, rows))
        for one in document.sections
    )
    return replace(document, sections=tuple(sections))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))


def _data(text: str) -> str:
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
