"""Annotations and the step summary of GitHub Actions."""

import os
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.comparison import GateReport
from safemerge_tasks.gate.reporters.wording import printable
from safemerge_tasks.statistics.verdict import Outcome

LEVELS = {Outcome.REGRESSION: "error", Outcome.UNDECIDED: "warning"}


def annotations(report: GateReport) -> list[str]:
    """Return one workflow command for each check that did not pass."""
    return [
        f"::{LEVELS[one.outcome]} title={_property(f'safemerge: {one.check.task}')}::"
        f"{_data(f'{one.check.name} by {one.check.judge}: {one.outcome}: {one.reason}')}"
        for one in report.comparisons
        if one.outcome in LEVELS
    ]


def announce(report: GateReport, markdown: str) -> None:
    """Print annotations and append to the step summary, where GitHub runs this."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in annotations(report):
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
