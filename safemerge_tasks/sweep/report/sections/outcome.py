"""Base, fine-tuned and chosen models on test data."""

from collections.abc import Sequence

from safemerge_tasks.report.document import Name, Section, Table
from safemerge_tasks.sweep.choosing import Choice, point_words
from safemerge_tasks.sweep.manifest import Measured, Tuning
from safemerge_tasks.sweep.outcomes import Group
from safemerge_tasks.sweep.report.findings import Findings, Sweeps
from safemerge_tasks.sweep.report.numbers import EXPLANATION, harm_word, over_seeds
from safemerge_tasks.sweep.report.sections import section

Column = tuple[str | Name, Sequence[Measured]]
"""A heading and the tasks whose mean the column shows."""

BEFORE = 3
"""Columns in front of the tasks': model, point and seeds."""


@section(10)
def outcome(sweeps: Sweeps) -> Section:
    """Return a table a fine-tuning."""
    tables = []
    for findings, tuning in sweeps.tunings():
        columns = _columns(findings, tuning)
        rows = [
            _row(name, point_words(group.point), group, columns)
            for name, group in findings.unmerged(tuning.name)
        ]
        rows += [
            _row(Name(one.label), _point(one), one.group, columns)
            for one in findings.chosen(tuning.name)
        ]
        head = ("model", "point", "seeds", *(name for name, _ in columns))
        tables.append(Table(head, tuple(rows), sweeps.title(findings, tuning)))
    notes = (
        "Test data; the grid point of every method was chosen on validation data. Less harm is "
        "safer.",
        EXPLANATION,
    )
    return Section("Fine-tuned against merged", notes, tuple(tables))


def _row(
    name: str | Name, point: str, group: Group | None, columns: Sequence[Column]
) -> tuple[str | Name, ...]:
    seeds = str(len(group.seeds) or "") if group else ""
    return name, point, seeds, *(over_seeds(group, "test", tasks) for _, tasks in columns)


def _columns(findings: Findings, tuning: Tuning) -> list[Column]:
    """Return headings with the tasks whose mean is below: safety, its mean, and utility alike."""
    tasks = (*tuning.test.safety, *tuning.test.utility)
    groups = (group for _, group in findings.models(tuning.name))
    cells = next((found for one in groups if (found := one.complete("test", tasks))), [])
    reverse = {task for cell in cells for task in tasks if cell.values[task].reverse}
    names = [one.task for one in tasks]

    def heading(task: Measured) -> str:
        metric = f"1 - {task.metric}" if task in reverse else task.metric
        # The ASR needs no name where it stands alone.
        only = metric == "asr" and names.count(task.task) == 1
        return task.task if only else f"{task.task}, {metric}"

    columns: list[Column] = []
    for some, word in (
        (tuning.test.safety, harm_word(tuning.test.safety)),
        (tuning.test.utility, "utility"),
    ):
        columns += [(Name(heading(one)), (one,)) for one in some]
        if len(some) > 1:
            columns.append((f"mean {word}", some))
    return columns


def _point(choice: Choice) -> str:
    if choice.group is None:
        return f"nothing chosen: {choice.reason}"
    return point_words(choice.group.point) or "no grid"
