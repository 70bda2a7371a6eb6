"""Writing what a command was asked to write."""

from pathlib import Path

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file; a text in one step.

    Raises:
        SafemergeError: it cannot be written there.
    """
    try:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            replace_file(path, content)
    except OSError as error:
        raise SafemergeError(f"{path} cannot be written ({error.strerror}).") from error
