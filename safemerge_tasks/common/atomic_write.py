"""Files that are there whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path


def replace_file(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or its parts, so that a crash leaves the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
