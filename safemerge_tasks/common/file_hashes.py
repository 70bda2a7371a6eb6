"""Hashes of files' contents: xxh3-128.

Reading a large model takes seconds to minutes, so hashes are kept under the files' paths, sizes
and times.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import xxhash

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.cache import cache_dir

_PIECE = 1 << 20


def file_hash(path: Path) -> str:
    """Return the hash of a file's bytes; a file that has not changed is not read again."""
    return _hash([path], names=False)


def known_file_hash(path: Path) -> str | None:
    """Return the hash of a file's bytes if it can be had without reading the file."""
    return _known(_place([path], names=False))


def files_hash(paths: Sequence[Path]) -> str:
    """Return the hash of the files' names and bytes, in order; all are read if one has changed."""
    return _hash(paths, names=True)


def _hash(paths: Sequence[Path], *, names: bool) -> str:
    # Before reading: what is written meanwhile must not pass for what was read.
    place = _place(paths, names=names)
    known = _known(place)
    if known is not None:
        return known
    state = xxhash.xxh3_128()
    for path in paths:
        if names:
            state.update(path.name.encode())
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                state.update(piece)
    # A cache that cannot be written costs time, nothing else.
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, state.hexdigest())
    return state.hexdigest()


def _place(paths: Sequence[Path], *, names: bool) -> Path:
    stamps = [[path.name if names else "", *_stamp(path)] for path in paths]
    name = xxhash.xxh3_128_hexdigest(json.dumps(stamps).encode())
    return cache_dir() / "file-hashes" / name[:2] / name


def _stamp(path: Path) -> list[str | int]:
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _known(place: Path) -> str | None:
    try:
        return place.read_text(encoding="ascii")
    except OSError:
        return None
