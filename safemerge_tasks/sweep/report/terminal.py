"""A sweep's main table on the terminal."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from safemerge_tasks.gate.reporters.terminal import LOG_WIDTH
from safemerge_tasks.gate.reporters.wording import printable
from safemerge_tasks.report.document import Cell, Name
from safemerge_tasks.sweep.manifest import Manifest
from safemerge_tasks.sweep.report.findings import Findings, find
from safemerge_tasks.sweep.report.tables import outcome


def print_table(manifest: Manifest, folder: Path, console: Console | None = None) -> None:
    """Print base, fine-tuned and chosen models on test data, a table a fine-tuning.

    Args:
        manifest: what was evaluated.
        folder: the sweep's output.
        console: where to.
    """
    print_findings(find(manifest, folder), console or Console())


def print_findings(findings: Findings, console: Console) -> None:
    """Print the main table of a sweep that is already read."""
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    section = outcome([findings])
    for grid in section.grids:
        title = ", ".join(map(_plain, grid.title))
        table = Table(title=Text(f"{title}: test data"), title_justify="left")
        for number, head in enumerate(grid.head):
            table.add_column(Text(_plain(head)), justify="right" if number > 2 else "left")
        for row in grid.rows:
            table.add_row(*(Text(_plain(cell)) for cell in row))
        console.print(table)
    for choice in findings.choices:
        if choice.point is None or not choice.meets:
            name = _plain(Name(choice.label))
            console.print(Text(f"{name} for {_plain(Name(choice.tuning))}: {choice.reason}."))


def _plain(cell: Cell) -> str:
    return cell.shown if isinstance(cell, Name) else printable(cell)
