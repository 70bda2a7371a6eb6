"""Every metric of the tasks that are not about safety."""

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.reading import Evaluated
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.wording import cell


@section(60)
def utility(evaluated: Evaluated) -> Section:
    """Return one column a model."""
    values: dict[tuple[str, str, str], dict[str, str]] = {}
    for model, task in evaluated.tasks(lambda task: task.result.is_utility):
        for judge in task.result.judged_by():
            for metric in task.result.metrics(judge):
                shown = cell(task.measure(judge, metric))
                values.setdefault((task.name, metric, judge), {})[model.label] = shown
    labels = [model.label for model in evaluated.models]
    rows: list[tuple[Words, ...]] = [
        (*map(Name, key), *(found.get(label, "") for label in labels))
        for key, found in values.items()
    ]
    table = Table(("task", "metric", "filter", *map(Name, labels)), tuple(rows))
    return Section("Utility", (), (table,))
