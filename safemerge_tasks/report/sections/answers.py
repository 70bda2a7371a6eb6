"""How many questions have no answer, or one that was cut or is no text."""

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.reading import Evaluated, TaskData
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.wording import number

CUT = "truncated_rate"
INCOHERENT = "incoherent_rate"


@section(25)
def answers(evaluated: Evaluated) -> Section:
    """Return a row a task and model that has such answers."""
    rows: list[tuple[Words, ...]] = []
    for model, task in evaluated.tasks(lambda task: bool(task.result.scores)):
        # The answers are the same whoever judged them.
        questions = next(iter(task.result.scores.values())).questions
        empty = sum(not one.answered for one in questions)
        cut, incoherent = _rate(task, CUT), _rate(task, INCOHERENT)
        if empty or cut or incoherent:
            rows.append(
                (
                    Name(task.name),
                    Name(model.label),
                    f"{empty:,} of {len(questions):,} ({empty / len(questions):.1%})",
                    _told(cut),
                    _told(incoherent),
                )
            )
    head = ("task", "model", "empty answers", "cut at the token limit", "incoherent")
    notes = (
        "An empty answer is no safe one: the model may be broken, or was kept from answering.",
        "Judges are unreliable on incoherent answers, and not all of those are found.",
    )
    return Section("Missing answers", notes, (Table(head, tuple(rows)),))


def _rate(task: TaskData, metric: str) -> float | None:
    found = (task.measure(judge, metric) for judge in task.result.judged_by())
    return next((one.value for one in found if one and one.value is not None), None)


def _told(rate: float | None) -> str:
    return "unknown" if rate is None else number(rate, rate=True)
