"""How many questions have no answer, or one that was cut."""

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.reading import Evaluated, TaskData
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.wording import number

CUT = "truncated_rate"


@section(25)
def answers(evaluated: Evaluated) -> Section:
    """Return a row a task and model that has such answers."""
    rows: list[tuple[Words, ...]] = []
    for model, task in evaluated.tasks(lambda task: bool(task.result.scores)):
        # The answers are the same whoever judged them.
        questions = next(iter(task.result.scores.values())).questions
        empty = sum(not one.answered for one in questions)
        cut = _cut(task)
        if empty or cut:
            rows.append(
                (
                    Name(task.name),
                    Name(model.label),
                    f"{empty:,} of {len(questions):,} ({empty / len(questions):.1%})",
                    "unknown" if cut is None else number(cut, rate=True),
                )
            )
    head = ("task", "model", "empty answers", "cut at the token limit")
    note = "An empty answer is no safe one: the model may be broken, or was kept from answering."
    return Section("Missing answers", (note,), (Table(head, tuple(rows)),))


def _cut(task: TaskData) -> float | None:
    found = (task.measure(judge, CUT) for judge in task.result.judged_by())
    return next((one.value for one in found if one and one.value is not None), None)
