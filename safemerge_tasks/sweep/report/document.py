"""The report on sweeps: the whole page, and the summary at a sweep's end."""

from collections.abc import Sequence
from dataclasses import replace

from safemerge_tasks.report.document import Document, Figure, Name, Section
from safemerge_tasks.sweep.report.findings import Findings, Sweeps
from safemerge_tasks.sweep.report.sections import section
from safemerge_tasks.sweep.report.sections.outcome import outcome


def sweeps_document(sweeps: Sequence[Findings], figures: Sequence[Figure] = ()) -> Document:
    """Return the report on some sweeps, side by side."""
    sections = section.of(Sweeps(tuple(sweeps), tuple(figures)))
    return Document("Sweep report", sections, rest="which --csv has")


def summary_document(findings: Findings) -> Document:
    """Return base, fine-tuned and chosen models on test data, and what was not chosen and why."""
    notes = tuple(
        (Name(choice.label), " for ", Name(choice.tuning), f": {choice.reason}.")
        for choice in findings.choices
        if choice.point is None or not choice.meets
    )
    tables = tuple(
        replace(table, title=(*table.title, "test data"))
        for table in outcome(Sweeps((findings,))).tables
    )
    return Document("", (Section("", tables=tables), Section("", notes)))
