"""Methods, and bases, beside each other."""

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.sweep.report.findings import Sweeps
from safemerge_tasks.sweep.report.numbers import NOTHING
from safemerge_tasks.sweep.report.sections import section
from safemerge_tasks.sweep.report.sections.outcome import BEFORE, outcome


@section(30)
def methods(sweeps: Sweeps) -> Section:
    """Return the outcomes with the methods beside each other, a row a task."""
    tables = []
    for table in outcome(sweeps).tables:
        (_, *models), _, _, *tasks = zip(table.head, *table.rows, strict=True)
        tables.append(Table(("task", *models), tuple(tasks), table.title))
    return Section("Methods side by side", ("Test data, means over seeds.",), tuple(tables))


@section(40)
def models(sweeps: Sweeps) -> Section:
    """Return several bases beside each other, for the fine-tunings that they share."""
    having: dict[str, list[tuple[str, Table]]] = {}
    for (findings, tuning), table in zip(sweeps.tunings(), outcome(sweeps).tables, strict=True):
        having.setdefault(tuning.name, []).append((findings.model, table))
    tables = []
    for name, shared in having.items():
        if len(shared) < 2:
            continue
        head: list[Words] = ["model"]
        rows: dict[Words, list[Words]] = {row[0]: [] for _, table in shared for row in table.rows}
        for model, table in shared:
            titles = [one.text if isinstance(one, Name) else one for one in table.head[BEFORE:]]
            head += [Name(f"{model}: {title}") for title in titles]
            found = {row[0]: row[BEFORE:] for row in table.rows}
            for label, cells in rows.items():
                cells += found.get(label, [NOTHING] * len(titles))
        body = tuple((label, *cells) for label, cells in rows.items())
        tables.append(Table(tuple(head), body, (Name(name),)))
    note = "Test data; every method at the grid point chosen for that model and fine-tuning."
    return Section("Models side by side", (note,), tuple(tables))
