"""The report as a table on the terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.gate.comparison import GateReport
from safemerge_tasks.gate.reporters.wording import (
    change,
    headline,
    notes,
    printable,
    questions,
    side,
)
from safemerge_tasks.statistics.verdict import Outcome

STYLES = {Outcome.PASSED: "green", Outcome.REGRESSION: "bold red", Outcome.UNDECIDED: "yellow"}
SHOWN = 20
LOG_WIDTH = 140
"""Of a CI server's log, which is wider than the 80 columns that rich assumes."""


def print_report(
    report: GateReport, texts: Mapping[bytes, tuple[str, str]], console: Console | None = None
) -> None:
    """Print the table, what has to be known beside it, the flips, and the outcome last."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    console.print(_text(f"candidate {report.candidate.model}"))
    console.print(_text(f"baseline  {report.baseline.model}"))
    table = Table()
    table.add_column("check", overflow="fold")
    for heading in ("baseline", "candidate", "change for the worse", "questions", "detects"):
        table.add_column(heading, justify="right")
    table.add_column("outcome", no_wrap=True)
    for one in report.comparisons:
        table.add_row(
            _text(f"{one.check.task}, {one.check.name} by {one.check.judge}"),
            side(one.baseline),
            side(one.candidate),
            change(one),
            questions(one),
            f"{one.detectable:.1%}",
            Text(one.outcome, STYLES[one.outcome]),
        )
    console.print(table)
    for one in report.comparisons:
        console.print(_text(f"{one.check.task}, {one.check.name}: {one.outcome}: {one.reason}."))
    for note in notes(report):
        console.print(_text(note))
    _print_flips(report, texts, console)
    console.print(Text(headline(report), STYLES[report.outcome]))


def _print_flips(
    report: GateReport, texts: Mapping[bytes, tuple[str, str]], console: Console
) -> None:
    for one in report.comparisons:
        if not one.flips or one.check.category:
            continue
        console.print(
            _text(
                f"{one.check.task}, {one.check.name}: {len(one.flips):,} questions are worse, "
                f"{one.better:,} better:"
            )
        )
        shown = one.flips if texts else one.flips[:SHOWN]
        for flip in shown:
            console.print(_text("  " + "  ".join(filter(None, flip[1:4]))))
            for label, text in zip(("asked", "answered"), texts.get(flip.key, ()), strict=False):
                console.print(_text(f"    {label}: {text}"))
        if len(shown) < len(one.flips):
            console.print(f"  and {len(one.flips) - len(shown):,} more; --json lists all.")


def _text(text: str) -> Text:
    return Text(printable(text))
