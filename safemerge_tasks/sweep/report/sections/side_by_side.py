"""Methods, and bases, beside each other."""

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.sweep.report.findings import Sweeps
from safemerge_tasks.sweep.report.numbers import NOTHING, over_seeds
from safemerge_tasks.sweep.report.sections import section


@section(30)
def methods(sweeps: Sweeps) -> Section:
    """Return the methods beside each other, a row a task."""
    tables = []
    for findings, tuning in sweeps.tunings():
        rows = findings.rows(tuning.name)
        body = tuple(
            (name, *(over_seeds(row.group, "test", tasks) for row in rows))
            for name, tasks in findings.columns(tuning, "test")
        )
        head = ("task", *(row.cell for row in rows))
        tables.append(Table(head, body, sweeps.title(findings, tuning)))
    return Section("Methods side by side", ("Test data, means over seeds.",), tuple(tables))


@section(40)
def models(sweeps: Sweeps) -> Section:
    """Return several bases beside each other, for the fine-tunings that they share."""
    tables = []
    for name in dict.fromkeys(tuning.name for _, tuning in sweeps.tunings()):
        having = [(one, tuning) for one, tuning in sweeps.tunings() if tuning.name == name]
        if len(having) < 2:
            continue
        head: list[Words] = ["model"]
        cells: dict[str | Name, dict[int, str]] = {}
        for findings, tuning in having:
            for title, tasks in findings.columns(tuning, "test"):
                for row in findings.rows(name):
                    shown = over_seeds(row.group, "test", tasks)
                    cells.setdefault(row.cell, {})[len(head)] = shown
                text = title.text if isinstance(title, Name) else title
                head.append(Name(f"{findings.model}: {text}"))
        places = range(1, len(head))
        body = tuple(
            (label, *(row.get(place, NOTHING) for place in places)) for label, row in cells.items()
        )
        tables.append(Table(tuple(head), body, (Name(name),)))
    note = "Test data; every method at the grid point chosen for that model and fine-tuning."
    return Section("Models side by side", (note,), tuple(tables))
