"""A table whose columns are judges."""

from collections.abc import Callable

from safemerge_tasks.report.document import Name, Table
from safemerge_tasks.report.reading import Evaluated, TaskData


def table_by_judge(
    evaluated: Evaluated,
    wanted: Callable[[TaskData], bool],
    show: Callable[[TaskData, str], str],
) -> Table:
    """Return a table with a row a task and model, and a column a judge.

    Args:
        evaluated: all models.
        wanted: which tasks.
        show: what a judge's cell says of a task.
    """
    found = list(evaluated.tasks(wanted))
    judges = list(dict.fromkeys(j for _, task in found for j in task.result.judged_by()))
    return Table(
        ("task", "model", *map(Name, judges)),
        tuple(
            (Name(task.name), Name(model.label), *(show(task, judge) for judge in judges))
            for model, task in found
        ),
    )
