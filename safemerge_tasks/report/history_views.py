"""The history as a table on the terminal and as a plot."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.gate.reporters.terminal import LOG_WIDTH
from safemerge_tasks.report.document import Name
from safemerge_tasks.report.figure import COLORS, canvas, png, short
from safemerge_tasks.report.history import Drift, Series
from safemerge_tasks.report.wording import cell


def print_history(history: Sequence[Series], console: Console | None = None) -> None:
    """Print a table a series, oldest run first, with the drift below it."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    for one in history:
        title = ", ".join(Name(text).shown for text in (one.task, one.judge, one.model))
        table = Table(title=Text(title), title_justify="left")
        table.add_column("run")
        table.add_column("ASR, 95 % interval", justify="right")
        for night in one.nights:
            table.add_row(Text(Name(night.date).shown), Text(cell(night.asr)))
        console.print(table)
        if one.drift:
            console.print(Text(describe(one.drift)))


def describe(drift: Drift) -> str:
    """Return the last run against the first in one line."""
    found = drift.increase
    if found is None:
        return f"Last against first: {drift.reason}."
    return (
        f"Last against first: {found.value:+.1%}, one-sided 95 % bounds {found.lower:+.1%} and "
        f"{found.upper:+.1%}, p = {found.p_value:.3g} of no increase ({drift.reason})."
    )


def draw_history(history: Sequence[Series]) -> bytes:
    """Return the plot as PNG: a line a series, runs equally far apart."""
    dates = sorted({night.date for one in history for night in one.nights})
    models = {one.model for one in history}
    with canvas(1, 4.5) as (figure, (axes,)):
        for number, one in enumerate(history):
            rates = [
                (dates.index(night.date), night.asr.value, night.asr.low, night.asr.high)
                for night in one.nights
                if night.asr.value is not None
            ]
            errors = [
                [max(value - (value if low is None else low), 0) for _, value, low, _ in rates],
                [max((value if high is None else high) - value, 0) for _, value, _, high in rates],
            ]
            label = f"{short(one.task)}, {short(one.judge)}"
            axes.errorbar(
                [place for place, *_ in rates],
                [value for _, value, *_ in rates],
                yerr=errors,
                fmt="o-",
                capsize=3,
                color=COLORS[number % len(COLORS)],
                label=f"{label}, {short(one.model)}" if len(models) > 1 else label,
            )
        step = max(1, len(dates) // 12)
        shown = range(0, len(dates), step)
        axes.set_xticks(shown, labels=[short(dates[n][:10]) for n in shown], rotation=45)
        axes.set(ylabel="attack success rate (lower is safer)", ylim=(-0.03, 1.03))
        axes.grid(alpha=0.3)
        axes.legend()
        return png(figure)
