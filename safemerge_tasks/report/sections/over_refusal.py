"""How often harmless questions were refused."""

from safemerge_tasks.report.document import Section
from safemerge_tasks.report.reading import Evaluated, TaskData
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.wording import cell


@section(50)
def over_refusal(evaluated: Evaluated) -> Section:
    """Return one minus the compliance rate."""

    def refused(task: TaskData, judge: str) -> str:
        return cell(task.measure(judge, "compliance_rate", reverse=True))

    note = "The share of questions that only look harmful and were not answered; lower is better."
    table = evaluated.by_judge(lambda task: task.result.is_refusal, refused)
    return Section("Over-refusal", (note,), (table,))
