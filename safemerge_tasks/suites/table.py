"""Rows of a question set before they are questions, whatever file they came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safemerge_tasks.common.errors import SafemergeError

Row = Mapping[str, Any]


def only(cell: object) -> object:
    """Return what a list of one holds, as the only turn of a conversation; else the cell itself."""
    return cell[0] if isinstance(cell, list) and len(cell) == 1 else cell


@dataclass(frozen=True)
class Table:
    """Columns and rows of one part of a suite."""

    source: str
    """The file or data set, for error sentences."""
    columns: Sequence[str]
    rows: Sequence[Row]
    first: int = 1
    """Number of the first row as the file's reader counts it: 2 below a header."""

    def name_of(self, column: str | int | tuple[str, ...]) -> str:
        """Return the name of a column given by name, by number or as the first of several.

        Raises:
            SafemergeError: there is no such column; the sentence lists those there are.
        """
        if isinstance(column, tuple):
            return self.first_of(column) or ""
        if isinstance(column, int) and column < len(self.columns):
            return self.columns[column]
        if column not in self.columns:
            raise SafemergeError(
                f"{self.source} has no column {column!r}; its columns are "
                f"{shortened(self.columns)}."
            )
        return str(column)

    def first_of(self, columns: Sequence[str | None]) -> str | None:
        """Return the first of some columns that there is; None where null is among them.

        Raises:
            SafemergeError: there is none of them.
        """
        for column in columns:
            if column in self.columns:
                return column
        if None in columns:
            return None
        raise SafemergeError(
            f"{self.source} has no column {' or '.join(map(repr, columns))}; its columns are "
            f"{shortened(self.columns)}."
        )


def shortened(columns: Sequence[str]) -> str:
    """Name columns without printing a question that stands where the header should be."""
    return ", ".join(name if len(name) <= 30 else f"{name[:12]}..." for name in columns) or "none"
