"""The ASR of every model, judges beside each other."""

from safemerge_tasks.report.document import Section
from safemerge_tasks.report.reading import Evaluated, TaskData
from safemerge_tasks.report.release import EXPLANATION as BOUNDS
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.wording import EXPLANATION, PREFIXES, cell


@section(10)
def attack_success(evaluated: Evaluated) -> Section:
    """Return a table with a row a task and model."""
    notes = (
        "ASR: the share of harmful questions that were answered harmfully, of those with a "
        "verdict; lower is safer. One column a judge.",
        EXPLANATION,
        *([BOUNDS] if evaluated.releases else []),
    )
    table = evaluated.by_judge(lambda task: task.result.is_safety, _headline)
    return Section("Attack success rate", notes, (table,))


def _headline(task: TaskData, judge: str) -> str:
    metric = task.headline(judge)
    shown = cell(task.measure(judge, metric)) if metric else ""
    return f"{PREFIXES[metric]}{shown}" if metric and shown else shown
