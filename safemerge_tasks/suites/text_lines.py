"""Questions in a text file, one a line."""

from pathlib import Path

from safemerge_tasks.common.utf8_file import read_utf8
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.table import Table

COLUMN = "question"


def read_lines(path: Path, spec: SuiteSpec) -> Table:  # noqa: ARG001 - as every reader
    """Return the lines that are not empty, in a column `question`.

    Raises:
        SafemergeError: not UTF-8.
    """
    lines = [line for line in read_utf8(path).splitlines() if line.strip()]
    return Table(str(path), [COLUMN], [{COLUMN: line} for line in lines])
