"""Base, fine-tuned and chosen models on test data."""

from safemerge_tasks.report.document import Section, Table, Words
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.report.findings import ShownModel, Sweeps
from safemerge_tasks.sweep.report.numbers import EXPLANATION, over_seeds
from safemerge_tasks.sweep.report.sections import section


@section(10)
def outcome(sweeps: Sweeps) -> Section:
    """Return a table a fine-tuning."""
    tables = []
    for findings, tuning in sweeps.tunings():
        columns = findings.columns(tuning, "test")
        rows: list[tuple[Words, ...]] = [
            (
                row.cell,
                _point(row),
                str(len(row.group.seeds) or "") if row.group else "",
                *(over_seeds(row.group, "test", tasks) for _, tasks in columns),
            )
            for row in findings.rows(tuning.name)
        ]
        head = ("model", "point", "seeds", *(name for name, _ in columns))
        tables.append(Table(head, tuple(rows), sweeps.title(findings, tuning)))
    notes = (
        "Test data; the grid point of every method was chosen on validation data. Less harm is "
        "safer.",
        EXPLANATION,
    )
    return Section("Fine-tuned against merged", notes, tuple(tables))


def _point(row: ShownModel) -> str:
    if row.group is None:
        return f"nothing chosen: {row.choice.reason}" if row.choice else ""
    return point_words(row.group.point) or ("no grid" if row.choice else "")
