"""Questions in a CSV file, with a header row or without."""

from collections import Counter
from pathlib import Path

from safemerge_tasks.common.csv_rows import DELIMITERS, csv_rows
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.table import Table

HEADER_NAMES = frozenset(
    ("question", "questions", "prompt", "prompts", "instruction", "text", "goal", "input", "0")
)
"""First cells that give away a header row where there should be none."""


def read_csv(path: Path, spec: SuiteSpec) -> Table:
    """Return a CSV file's rows; without a header the columns are named 0, 1 and so on.

    Raises:
        SafemergeError: not UTF-8 or not CSV, or questions split at unquoted delimiters.
    """
    lines, delimiter = csv_rows(path, header=spec.header)
    if not spec.header:
        return _headerless(path, spec, lines, delimiter)
    header, lines = (lines[0], lines[1:]) if lines else ([], [])
    for number, line in enumerate(lines, start=2):
        if len(line) > len(header):
            raise _split(path, number, len(line), len(header), delimiter)
    # Spreadsheets save columns that are empty and have no name.
    used = [
        at
        for at, name in enumerate(header)
        if name.strip() or any(cell.strip() for line in lines for cell in line[at : at + 1])
    ]
    header = [header[at] for at in used]
    lines = [[line[at] for at in used if at < len(line)] for line in lines]
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise SafemergeError(f"{path} has the column {twice[0]!r} twice; rename one of them.")
    rows = [dict(zip(header, line, strict=False)) for line in lines]
    return Table(str(path), header, rows, first=2)


def _headerless(path: Path, spec: SuiteSpec, lines: list[list[str]], delimiter: str) -> Table:
    assert isinstance(spec.question, int)
    width = 1 + spec.question
    if lines and lines[0][width - 1 : width] and _names_a_column(lines[0][width - 1]):
        raise SafemergeError(
            f"{path} begins with a header row, but the files of {spec.suite} have none; "
            "remove its first line."
        )
    for number, line in enumerate(lines, start=1):
        if len(line) != width:
            raise _split(path, number, len(line), width, delimiter)
    columns = [str(number) for number in range(width)]
    return Table(str(path), columns, [dict(zip(columns, line, strict=True)) for line in lines])


def _names_a_column(cell: str) -> bool:
    return cell.strip().casefold() in HEADER_NAMES


def _split(path: Path, number: int, found: int, expected: int, delimiter: str) -> SafemergeError:
    return SafemergeError(
        f"{path}, row {number} has {found} columns, expected {expected}; quote questions that "
        f"contain {DELIMITERS[delimiter]}."
    )
