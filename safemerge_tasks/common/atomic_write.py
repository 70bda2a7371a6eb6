"""Files that are there whole or not at all."""

import contextlib
import glob
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from safemerge_tasks.common.errors import SafemergeError

_DESCRIPTOR = re.compile(r"/(?:dev/fd|proc/self/fd)/(\d+)")
_NAMED = {"/dev/stdout": 1, "/dev/stderr": 2}

Content = str | bytes | Iterable[str]


def replace_file(path: Path, content: Content) -> None:
    """Write a content, or a text's parts, so that a crash leaves the old content or the new.

    A link stays a link: what it leads to is replaced. What is no ordinary file (a device, a pipe)
    is written to.
    """
    descriptor = _open_here(path)
    if descriptor is not None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or what was printed before would come after
        with os.fdopen(os.dup(descriptor), "wb") as file:
            _write(file, content)
    elif path.exists() and not path.is_file():
        with path.open("wb") as file:
            _write(file, content)
    else:
        _replace(path, lambda file: _write(file, content))


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, so that a crash leaves the whole copy or none."""
    with source.open("rb") as original:
        _replace(target, lambda file: shutil.copyfileobj(original, file))


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file that somebody named, in one step.

    Raises:
        SafemergeError: it cannot be written there.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        raise SafemergeError(f"{path} cannot be written ({error.strerror}).") from error


def _replace(path: Path, fill: Callable[[IO[bytes]], None]) -> None:
    path = Path(os.path.realpath(path))
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            with contextlib.suppress(FileNotFoundError):  # responses may be for few eyes
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: IO[bytes], content: Content) -> None:
    for part in [content] if isinstance(content, str | bytes) else content:
        # A lone surrogate becomes its escape, which JSON reads back.
        file.write(part if isinstance(part, bytes) else part.encode("utf-8", "backslashreplace"))


def _open_here(path: Path) -> int | None:
    """Return the number of an open file that a path stands for.

    Opened anew, an ordinary file behind it would be cut, and lose what this process printed there.
    """
    name = os.path.normpath(path)
    found = _DESCRIPTOR.fullmatch(name)
    return int(found[1]) if found else _NAMED.get(name)


def _remove_abandoned(path: Path) -> None:
    """Remove what processes of this machine left that were killed while they wrote the file."""
    begin = f".{path.name}.{os.uname().nodename}."
    for left in path.parent.glob(f"{glob.escape(begin)}*.tmp"):
        process = left.name.removeprefix(begin).removesuffix(".tmp")
        if process.isdecimal() and not _runs(int(process)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
