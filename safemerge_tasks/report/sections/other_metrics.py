"""The safety tasks' other metrics, such as compliance and truncation."""

from safemerge_tasks.metrics.asr import HIGHER_IS_BETTER
from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.reading import Evaluated
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.wording import cell


@section(80)
def other_metrics(evaluated: Evaluated) -> Section:
    """Return one folded table of all but the foremost metrics."""
    rows: list[tuple[Words, ...]] = []
    for model, task in evaluated.tasks(lambda task: not task.result.is_utility):
        for judge in task.result.judged_by():
            top = task.headline(judge) if task.result.is_safety else None
            rows += [
                (*map(Name, (task.name, model.label, judge, metric)), cell(shown))
                for metric in task.result.metrics(judge)
                if metric != top and metric in HIGHER_IS_BETTER
                for shown in [task.measure(judge, metric)]
            ]
    head = ("task", "model", "judge", "metric", "value")
    table = Table(head, tuple(rows), ("all of them",), folded=True)
    return Section("Other metrics of the safety tasks", (), (table,))
