"""How far judges agree on the same answers, and where they differ most."""

from collections.abc import Iterator

from safemerge_tasks.metrics.agreement import PARTS, Agreement, agreements, by_part
from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.reading import Evaluated, Model, TaskData
from safemerge_tasks.report.sections import section

MOST = 10
"""Of a task's categories, how many are shown, those with the most differences first."""

NUMBERS = (
    *("answers", "agree", "kappa", "alpha"),
    *("yes by both", "by the first alone", "by the second alone", "by neither"),
)


@section(27)
def agreement(evaluated: Evaluated) -> Section:
    """Return a row for every two judges of a task, and folded tables of its parts."""
    found = [
        (model, task, whole)
        for model, task in evaluated.tasks(lambda task: len(task.result.scores) > 1)
        for whole in agreements(task.result)
    ]
    rows: list[tuple[Words, ...]] = [
        (*_names(task, model, whole), *_numbers(whole)) for model, task, whole in found
    ]
    tables = [Table(("task", "model", "judges", "metric", *NUMBERS), tuple(rows))]
    for model, task, whole in found:
        tables += _parts(model, task, whole)
    notes = (
        "Of the answers that both judges gave a verdict on: how often the two agree, and Cohen's "
        "kappa and Krippendorff's alpha, which are 1 for perfect agreement and 0 for chance.",
        "Where few answers are harmful, kappa is low though judges differ on few, so the counts "
        "stand beside it; none: both said the same of all, which chance alone would give.",
    )
    return Section("Agreement of the judges", notes, tuple(tables))


def _names(task: TaskData, model: Model, whole: Agreement) -> tuple[Words, ...]:
    one, other = whole.judges
    return (Name(task.name), Name(model.label), (Name(one), ", ", Name(other)), whole.metric)


def _parts(model: Model, task: TaskData, whole: Agreement) -> Iterator[Table]:
    for part in PARTS:
        groups = by_part(task.result, whole, part)
        if len(groups) < 2 or not whole.differ:
            continue
        rows: list[tuple[Words, ...]] = [
            (Name(name), *_numbers(one)) for name, one in list(groups.items())[:MOST]
        ]
        one, other = whole.judges
        what = f"{whole.metric} by {part}, most differences first"
        title = (Name(task.name), Name(model.label), Name(one), Name(other), what)
        yield Table((part, *NUMBERS), tuple(rows), title, folded=True)


def _numbers(one: Agreement) -> tuple[Words, ...]:
    shown = ("none" if value is None else f"{value:.2f}" for value in (one.kappa, one.alpha))
    counts = (one.both, one.first, one.second, one.neither)
    share = f"{1 - one.differ / one.total:.1%}"
    return (f"{one.total:,}", share, *shown, *(f"{count:,}" for count in counts))
