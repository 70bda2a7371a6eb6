"""Text files as people save them: UTF-8, after a BOM or not."""

from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError


def read_utf8(path: Path, newline: str | None = None) -> str:
    """Return a file's text; `newline` is that of `open`, which reads line ends of all kinds as one.

    Raises:
        SafemergeError: it is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise SafemergeError(
            f"{path} is not UTF-8 text (byte {error.start}); convert it."
        ) from error
