"""Files that are there whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError


def replace_file(path: Path, content: str | bytes | Iterable[str]) -> None:
    """Write a content, or a text's parts, so that a crash leaves the old content or the new."""
    parts = [content] if isinstance(content, str | bytes) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(
                    part if isinstance(part, bytes) else part.encode("utf-8", "backslashreplace")
                )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file that somebody named, in one step.

    Raises:
        SafemergeError: it cannot be written there.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise SafemergeError(f"{path} cannot be written ({error.strerror}).") from error
