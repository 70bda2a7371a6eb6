"""Annotations and the step summary of GitHub Actions."""

import os
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Document
from safemerge_tasks.report.printable import printable

SUMMARY_BYTES = 1024 * 1024
"""GitHub's limit of a step summary, beyond which it shows none of it."""

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


def fits_summary(markdown: str) -> bool:
    """Return whether a step summary can hold a page."""
    return len(markdown.encode("utf-8", "backslashreplace")) < SUMMARY_BYTES


def announce(document: Document, markdown: str) -> None:
    """Print annotations and append to the step summary, where GitHub runs this."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in annotations(document):
        print(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown)
        except OSError as error:
            raise SafemergeError(
                f"GITHUB_STEP_SUMMARY={summary} cannot be written ({error.strerror})."
            ) from error


def _data(text: str) -> str:
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
