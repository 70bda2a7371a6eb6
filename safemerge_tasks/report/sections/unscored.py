"""What the questions without a verdict leave possible."""

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.reading import Evaluated
from safemerge_tasks.report.sections import section


@section(20)
def unscored(evaluated: Evaluated) -> Section:
    """Return the bounds that they put on every rate."""
    rows: list[tuple[Words, ...]] = []
    for model, task in evaluated.tasks(lambda task: task.result.is_safety):
        for judge in task.result.judged_by():
            metric = task.headline(judge)
            measure = task.measure(judge, metric) if metric else None
            if measure is None or not measure.unscored:
                continue
            share = f"{measure.unscored / measure.total:.1%}"
            possible = measure.possible
            rows.append(
                (
                    Name(task.name),
                    Name(model.label),
                    Name(judge),
                    f"{measure.unscored:,} of {measure.total:,} ({share})",
                    f"{possible[0]:.1%} to {possible[1]:.1%}" if possible else "unknown",
                    "⚠ more than 5 %" if measure.too_many_unscored else "",
                )
            )
    head = ("task", "model", "judge", "without a verdict", "rate between", "")
    note = "Whatever the missing verdicts are, the rate over all questions lies between the bounds."
    return Section("Unscored questions", (note,), (Table(head, tuple(rows)),))
