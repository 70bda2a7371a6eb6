"""Rows kept by key in an SQLite file: what costs much to make and can be made again."""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

_log = logging.getLogger(__name__)

_WAIT = 60.0  # seconds for another process that writes

Kept = TypeVar("Kept")


class RowStore:
    """One table whose first column, `key`, is a hash.

    SQLite's transactions keep concurrent processes apart and a killed one from leaving half a row.
    A store that cannot be used is said once and does without: it must never cost a result.
    """

    def __init__(
        self, path: Path, table: str, columns: str, *, what: str, off: str, large: bool = False
    ) -> None:
        """Prepare a store; the file is made when something is kept.

        Args:
            path: the file.
            table: its table's name.
            columns: SQL of the columns after the key.
            what: what is kept, for the warning.
            off: the setting that does without.
            large: rows are of many kilobytes.
        """
        self._path = path
        self._table = table
        self._schema = f"CREATE TABLE IF NOT EXISTS {table} (key BLOB PRIMARY KEY, {columns})" + (
            "" if large else " WITHOUT ROWID"
        )
        self._large = large
        self._values = ", ".join("?" * (columns.count(",") + 2))
        self._what = what
        self._off = off
        self._usable = True

    def look_up(self, keys: Sequence[bytes], read: Callable[..., Kept]) -> list[Kept | None]:
        """Return what is kept under each key, None where there is nothing yet.

        Args:
            keys: of the rows.
            read: makes it from the columns after the key.
        """
        found: list[Kept | None] = [None] * len(keys)
        if not self._usable or not self._path.is_file():
            return found
        query = f"SELECT * FROM {self._table} WHERE key = ?"  # noqa: S608 - a name of our own
        try:
            with closing(self._connect()) as connection:
                for index, key in enumerate(keys):
                    row = connection.execute(query, (key,)).fetchone()
                    found[index] = read(*row[1:]) if row else None
        except (sqlite3.Error, OSError, ValueError, RuntimeError, TypeError) as error:
            self._give_up(error)
        return found

    def keep(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Keep rows, each with its key first; all of them or none."""
        if not self._usable:
            return
        insert = f"INSERT OR REPLACE INTO {self._table} VALUES ({self._values})"  # noqa: S608
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute(self._schema)
                connection.executemany(insert, rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_WAIT)
        if self._large:  # no effect on a file that has pages already
            connection.execute("PRAGMA page_size = 65536")
        return connection

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        _log.warning(
            "%s are not kept: %s cannot be used (%s); delete it, or set %s=false.",
            self._what,
            self._path,
            error,
            self._off,
        )
