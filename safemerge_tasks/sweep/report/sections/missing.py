"""The results that are missing, with the reasons."""

from collections.abc import Iterator

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.report.findings import Findings, Sweeps
from safemerge_tasks.sweep.report.numbers import long, seed_words
from safemerge_tasks.sweep.report.sections import section


@section(90)
def missing(sweeps: Sweeps) -> Section:
    """Return a table a sweep."""
    head = ("variant", "method", "point", "seeds", "split", "tasks", "reason")
    tables = [
        Table(head, tuple(_rows(findings)), sweeps.title(findings)) for findings in sweeps.findings
    ]
    return Section("Missing results", (), tuple(tables))


def _rows(findings: Findings) -> Iterator[tuple[Words, ...]]:
    for group, split, cell in findings.survey.cells():
        reasons: dict[str, list[str]] = {}
        for task, reason in cell.missing.items():
            reasons.setdefault(reason, []).append(task.task)
        for reason, tasks in reasons.items():
            yield (
                Name(cell.variant.id),
                Name(group.label or group.kind),
                point_words(group.point),
                seed_words(cell.variant.seeds),
                split,
                Name(", ".join(tasks)),
                long(reason),
            )
