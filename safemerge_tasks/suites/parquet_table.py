"""Questions in a Parquet file, as the Hub offers every data set."""

from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.table import Table


def read_parquet(path: Path, spec: SuiteSpec) -> Table:  # noqa: ARG001 - as every reader
    """Return a Parquet file's rows.

    Raises:
        SafemergeError: not a Parquet file.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        content = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise SafemergeError(f"{path} is not a Parquet file; replace it.") from error
    return Table(str(path), content.column_names, content.to_pylist())
