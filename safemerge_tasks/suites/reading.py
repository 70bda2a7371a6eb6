"""A part of a suite as a table, whatever its source and format."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.csv_table import read_csv
from safemerge_tasks.suites.hub_rows import read_hub_rows
from safemerge_tasks.suites.json_table import read_json, read_jsonl
from safemerge_tasks.suites.parquet_table import read_parquet
from safemerge_tasks.suites.sources import address_of, local_file, locate, way_out
from safemerge_tasks.suites.spec import Format, Part, SuiteSpec
from safemerge_tasks.suites.table import Table
from safemerge_tasks.suites.text_lines import read_lines

READERS: dict[Format, Callable[[Path, SuiteSpec], Table]] = {
    "csv": read_csv,
    "json": read_json,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "lines": read_lines,
}


def read_part(spec: SuiteSpec, part: Part) -> Table | None:
    """Return a part's rows, fetched if need be; None for an absent optional part.

    Raises:
        SafemergeError: the part cannot be had or read, with the way out.
    """
    here = local_file(spec, part)
    if here is None and spec.split is not None:
        return read_hub_rows(spec, way_out(spec, part))
    path = locate(spec, part)
    if path is None:
        return None
    return READERS[spec.format or format_of(_published_name(spec, part, here))](path, spec)


def _published_name(spec: SuiteSpec, part: Part, here: Path | None) -> str:
    """Return the file's name; a fetched file's local one is the cache's and has no extension."""
    if here is not None:
        return here.name
    return urlparse(address_of(spec.url, part)).path if spec.url else part.file


def format_of(name: str) -> Format:
    """Return the format that a file's extension tells.

    Raises:
        SafemergeError: it tells none.
    """
    extension = Path(name).suffix.lower().removeprefix(".")
    for known in READERS:
        if extension == known:
            return known
    raise SafemergeError(
        f"{name} has no extension that tells its format; add `format:` {', '.join(READERS)}."
    )
