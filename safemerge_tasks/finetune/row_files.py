"""Training rows in a file as trainers have them: JSON lines, a JSON array, CSV or Parquet."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.utf8_file import read_utf8
from safemerge_tasks.suites.csv_table import read_csv
from safemerge_tasks.suites.hub_rows import read_hub_rows
from safemerge_tasks.suites.parquet_table import read_parquet
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.table import Table

Row = dict[str, Any]
Placed = tuple[Row, str]
"""A row and where it stands, for errors."""

# The readers of tables ask for a suite's names, which rows of any shape do not have.
_ANY = SuiteSpec.checked(
    {"suite": "rows", "parts": [{"file": "rows"}], "question": "prompt"}, where="rows"
)


def rows_of_file(path: Path) -> Iterator[Placed]:
    """Yield the rows of a file; the content tells a JSON array from JSON lines.

    Raises:
        SafemergeError: the file cannot be read, or a line is no JSON object.
    """
    match path.suffix.lower():
        case ".csv":
            yield from _rows_of_table(read_csv(path, _ANY))
        case ".parquet":
            yield from _rows_of_table(read_parquet(path, _ANY))
        case _:
            yield from _rows_of_json(path)


def rows_of_hub(hub: str, config: str | None, split: str, revision: str | None) -> Iterator[Placed]:
    """Yield the rows of a data set on the Hub.

    Raises:
        SafemergeError: gated, absent or unreachable, or no such configuration or split.
    """
    given = {"suite": "rows", "hub": hub, "split": split, "question": "prompt"}
    spec = SuiteSpec.checked({**given, "config": config, "revision": revision}, where=hub)
    yield from _rows_of_table(
        read_hub_rows(spec, "or give its rows as a file, `data: rows.jsonl`.")
    )


def _rows_of_table(table: Table) -> Iterator[Placed]:
    for number, row in enumerate(table.rows, start=table.first):
        yield dict(row), f"{table.source}, row {number}"


def _rows_of_json(path: Path) -> Iterator[Placed]:
    text = read_utf8(path)
    if text.lstrip().startswith("["):
        yield from _rows_of_array(path, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SafemergeError(
                    f"{place} is not JSON ({error}); put one object on a line."
                ) from error
            yield _object(row, place)


def _rows_of_array(path: Path, text: str) -> Iterator[Placed]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise SafemergeError(f"{path} is not JSON ({error}); correct it.") from error
    for number, row in enumerate(rows, start=1):
        yield _object(row, f"{path}, row {number}")


def _object(row: Any, place: str) -> Placed:
    if not isinstance(row, dict):
        raise SafemergeError(f"{place} is not a JSON object; write {{...}}.")
    return row, place
