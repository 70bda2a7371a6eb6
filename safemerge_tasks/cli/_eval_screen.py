"""What an evaluation found, on one screen, with the command to run next."""

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.report.document import Name
from safemerge_tasks.report.measured import Measured, measured
from safemerge_tasks.report.reading import Model, task_data
from safemerge_tasks.report.wording import cell, number
from safemerge_tasks.results import Run, model_name

_WIDTH = 120
"""Of a table that nobody's terminal bounds."""


def show(run: Run, *, place: Path, log: Path, deferred: bool, console: Console) -> None:
    """Print a run's rates with their intervals, what is unscored, and what to do next.

    Args:
        run: lm-eval's results, judged or not.
        place: its --output_path.
        log: what was printed meanwhile.
        deferred: nobody was to judge.
        console: where to.
    """
    summary = run.summary()
    groups = summary.get("group_subtasks") or {}
    names = [name for name in summary["results"] if not groups.get(name)]
    name = model_name(summary, run)
    model = Model(name, place, tasks={one: task_data(one, run, summary) for one in names})
    found = measured(model)
    table = Table(box=None, pad_edge=False, title=Text(Name(name).shown), title_justify="left")
    for heading in ("task", "measure", "value (95 % interval)", "unscored", "judge"):
        table.add_column(heading, overflow="fold")
    for one in found:
        task, judge = Name(one.task.name).shown, Name(one.judge).shown
        table.add_row(*map(Text, (task, one.called, cell(one.measure, unscored=False))),
                      Text(_unscored(one)), Text(judge))  # fmt: skip
    answered = {one.task.name for one in found}
    for other in (other for other in names if other not in answered):
        state = "answers are saved, not judged" if other in run.samples else "no measure"
        table.add_row(Text(Name(other).shown), Text(state))
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)
    lines = [f"Results: {run.path}"]
    if log.exists():
        lines.append(f"Log: {log}")
    where = shlex.quote(str(place))
    if deferred:
        lines.append(f"Next: safemerge judge {where} --judge wildguard")
    else:
        lines.append(f"Next: safemerge check --baseline BASELINE --candidate {where}")
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _unscored(one: Measured) -> str:
    """Return how many questions have no verdict, and what that leaves open where they are many."""
    measure = one.measure
    said = f"{measure.unscored:,} of {measure.total:,}" if measure.unscored else "none"
    if measure.too_many_unscored and measure.possible:
        low, high = (number(value, rate=True) for value in measure.possible)
        said += f": {low} to {high} is possible"
    return said
