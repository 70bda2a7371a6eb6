"""How far the judges of saved results agree, for the terminal and as plain values."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.metrics.agreement import PARTS, Agreement, Part, agreements, by_part
from safemerge_tasks.results import find_runs
from safemerge_tasks.results.loading import read_task

MOST = 3
"""How many categories and languages are named in which judges differ most."""


class Told(NamedTuple):
    """Two judges' agreement on one task of one run, in all and within its parts."""

    path: Path
    task: str
    whole: Agreement
    parts: dict[Part, dict[str, Agreement]]


def agreement_of(results: Path, judges: Sequence[str]) -> list[Told]:
    """Return the agreement of every two judges on every task that both have judged."""
    return list(_told(results, judges)) if len(set(judges)) > 1 else []


def as_records(told: Sequence[Told]) -> list[dict[str, Any]]:
    """Return agreements as plain values for JSON."""
    return [
        {
            "results": str(one.path),
            "task": one.task,
            **one.whole.as_record(),
            **{
                f"by {part}": {name: found.as_record() for name, found in groups.items()}
                for part, groups in one.parts.items()
            },
        }
        for one in told
    ]


def print_agreement(told: Sequence[Told], console: Console | None = None) -> None:
    """Print a row a task and pair of judges, and where the two differ most."""
    if not told:
        return
    console = console or Console(width=None if Console().is_terminal else 120)
    table = Table(title="Agreement of the judges")
    for heading in ("task", "metric", "yes by both", "by one alone", "by neither"):
        table.add_column(heading)
    for heading in ("agree", "kappa", "alpha"):
        table.add_column(heading, justify="right")
    for one in told:
        whole = one.whole
        alone = f"{whole.judges[0]} {whole.first}, {whole.judges[1]} {whole.second}"
        # Names come from outside, so none is read as rich's markup.
        cells = (one.task, whole.metric, str(whole.both), alone, str(whole.neither))
        numbers = (
            f"{1 - whole.differ / whole.total:.1%}",
            *map(_shown, (whole.kappa, whole.alpha)),
        )
        table.add_row(*map(Text, (*cells, *numbers)))
    console.print(table)
    for one in told:
        for part, groups in one.parts.items():
            worst = [
                f"{name} ({found.differ} of {found.total})"
                for name, found in list(groups.items())[:MOST]
                if found.differ
            ]
            if worst and len(groups) > 1:
                by = " and ".join(one.whole.judges)
                said = f"{one.task}, {one.whole.metric}: {by} differ most in the {part}"
                console.print(Text(f"{said} {', '.join(worst)}"))


def _told(results: Path, judges: Sequence[str]) -> Iterator[Told]:
    for run in find_runs(results):
        summary = run.summary()
        for task in run.samples:
            result = read_task(task, run, summary)
            for whole in agreements(result, judges):
                parts = {part: by_part(result, whole, part) for part in PARTS}
                yield Told(run.path, task, whole, parts)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
