"""Rows of a CSV file as people save them: with commas, semicolons or tabs, after a BOM or not."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.utf8_file import read_utf8

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SAYS_WHICH = "sep="
"""How Excel begins a file in which it names the delimiter."""


def csv_rows(path: Path, *, header: bool = True) -> tuple[list[list[str]], str]:
    """Return the rows that are not empty, a header with them, and the delimiter.

    The delimiter is the one that a first line `sep=;` names, else that which divides the header
    into most columns; without a header it is the comma, since questions hold all of them.

    Raises:
        SafemergeError: not UTF-8 or not CSV.
    """
    text = read_utf8(path, newline="")
    first, _, rest = text.partition("\n")
    named = first.strip().removeprefix(_SAYS_WHICH) if first.startswith(_SAYS_WHICH) else None
    delimiter = "\t" if named in ("", "\\t") else named
    try:
        with _long_cells():
            if delimiter in DELIMITERS:
                return _rows(rest, delimiter), delimiter
            found = {mark: _rows(text, mark) for mark in (DELIMITERS if header else ",")}
    except csv.Error as error:
        raise SafemergeError(f"{path} is not a CSV file ({error}); replace it.") from error
    widest = max(found, key=lambda mark: len(found[mark][0]) if found[mark] else 0)
    return found[widest], widest


def _rows(text: str, delimiter: str) -> list[list[str]]:
    return [row for row in csv.reader(StringIO(text, newline=""), delimiter=delimiter) if row]


@contextmanager
def _long_cells() -> Iterator[None]:
    """Allow cells of any length; a prompt of a long-context attack has megabytes."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
