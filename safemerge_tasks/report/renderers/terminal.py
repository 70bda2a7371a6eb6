"""A document on the terminal."""

import re
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from safemerge_tasks.report.document import (
    Document,
    Mark,
    Name,
    Part,
    Table,
    Words,
    parts,
)
from safemerge_tasks.report.printable import printable

STYLES = {"good": "green", "bad": "bold red", "unsure": "yellow"}
SHOWN = 20
"""Rows of a table that other renderers show on demand only."""
LOG_WIDTH = 140
"""Of a CI server's log, which is wider than the 80 columns that rich assumes."""


def print_document(
    document: Document, console: Console | None = None, folded_rows: int | None = SHOWN
) -> None:
    """Print a document without its figures, its conclusion last.

    Args:
        document: what to show.
        console: where to.
        folded_rows: of each table that is folded elsewhere; None for all.
    """
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)

    def say(line: Text) -> None:
        # A line that begins with two colons is a command to GitHub, so none does, wrapped or not.
        if line.plain.lstrip().startswith("::"):
            line = Text("| ") + line
        console.print(line, soft_wrap=True)

    if document.title:
        say(Text(document.title, "bold"))
    for section in document.sections:
        if section.title:
            say(Text(section.title, "bold"))
        for note in section.notes:
            say(_text(note))
        for table in section.tables:
            rows = document.rows(table, folded_rows if table.folded else None)
            console.print(_table(table, rows))
        for one in section.excerpts:
            say(Text(": ").join(map(_text, (*one.group, *one.names))))
            say(Text(printable(f"    asked: {one.question}")))
            for whose, answer in one.answers:
                say(Text(printable(f"    {whose}: {answer}")))
    if document.conclusion:
        say(_text(document.conclusion))


def _table(table: Table, rows: Sequence[tuple[Words, ...]]) -> RichTable:
    title = Text(": ").join(map(_text, table.title))
    found = RichTable(title=title if table.title else None, title_justify="left")
    for place, head in enumerate(table.head):
        column = [row[place] for row in table.rows]
        found.add_column(
            _text(head),
            overflow="fold",
            justify="right" if any(map(_is_number, column)) else "left",
            no_wrap=any(isinstance(one, Mark) for one in column),
        )
    for row in rows:
        found.add_row(*map(_text, row))
    return found


def _is_number(cell: Words) -> bool:
    return isinstance(cell, str) and bool(re.match(r"[+-]?\d", cell))


def _text(cell: Words) -> Text:
    return Text.assemble(*map(_part, parts(cell)))


def _part(part: Part) -> Text:
    if isinstance(part, Mark):
        return Text(printable(part.text), STYLES[part.tone])
    return Text(part.shown if isinstance(part, Name) else printable(part))
