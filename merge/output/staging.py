"""Output folders that appear whole or not at all.

Everything is written to a folder beside the wanted one, which is renamed when it is complete. A
run that dies leaves `.NAME.merging`, which has no complete manifest and which the next run clears.
Where the wanted one cannot be renamed over, as a mount point, the folder is in it, and its files
are moved up with the manifest last.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from merge.errors import MergeError

_INSIDE = ".merging"
# Bytes of a name, less what is added while the folder is written.
_LONGEST = 240
# What may be in an empty output folder: a killed run's leftovers, and what a new disk has.
_OURS = frozenset({_INSIDE, f"{_INSIDE}.lock", "lost+found"})


def check_target(out: Path) -> None:
    """Check that an output folder can be made.

    Raises:
        MergeError: something is there already, or the place cannot be written to.
    """
    if longest := next((part for part in out.parts if len(os.fsencode(part)) > _LONGEST), ""):
        raise MergeError(f"{longest[:40]}… is too long for a folder's name; choose another --out.")
    if out.is_symlink() and not out.exists():
        raise MergeError(f"{out} is a link to a place that is not there; choose another --out.")
    if out.exists() and not out.is_dir():
        raise MergeError(f"{out} is a file; choose another --out.")
    if out.is_dir() and any(path.name not in _OURS for path in out.iterdir()):
        raise MergeError(f"{out} exists and is not empty; remove it or choose another --out.")
    parent = _staging(out).parent
    parent = next(each for each in (parent, *parent.parents) if each.is_dir())
    if not os.access(parent, os.W_OK):
        raise MergeError(f"{parent} cannot be written to; choose another --out.")


def free_bytes(out: Path) -> int:
    """Return the space left where an output folder would be, a killed run's leftovers included."""
    staging = _staging(out)
    place = next(each for each in staging.parents if each.is_dir())
    leftover = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
    return shutil.disk_usage(place).free + leftover


def _staging(out: Path) -> Path:
    """Return the folder to write to: beside the output, or in it if it cannot be renamed over.

    A mount point, a link and the folder one is in stay what they are.
    """
    place = out.absolute()
    fixed = place.is_dir() and (
        place.is_symlink()
        or os.path.ismount(place)
        or place.resolve() == Path.cwd()
        or not os.access(place.parent, os.W_OK)
    )
    if fixed:
        return place.resolve() / _INSIDE
    return place.resolve().parent / f".{place.resolve().name}.merging"


@contextmanager
def staged(out: Path, last: str = "") -> Iterator[Path]:
    """Give a folder to write to, and put it at ``out`` if no error comes.

    Args:
        out: the folder to make; it must not exist, or be empty.
        last: the file that makes a folder complete.

    Raises:
        MergeError: another run is writing the same output, or the folder cannot be made.
    """
    check_target(out)
    staging = _staging(out)
    try:
        staging.parent.mkdir(parents=True, exist_ok=True)
        with _locked(staging):
            if staging.exists():
                shutil.rmtree(staging)
            staging.mkdir()
            try:
                yield staging
                if staging.name == _INSIDE:
                    _move_up(staging, last)
                else:
                    staging.rename(staging.parent / out.absolute().resolve().name)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        few = error.errno == errno.EMFILE
        fix = (
            "raise the limit on open files (ulimit -n) or --max-shard-size"
            if few
            else "free space there or choose another --out"
        )
        raise MergeError(
            f"{error.filename or staging} cannot be written ({error.strerror}); {fix}."
        ) from error


def _move_up(staging: Path, last: str) -> None:
    """Move what is staged into the folder around it, so that what completes it comes last."""
    entries = sorted(staging.iterdir(), key=lambda path: path.name == last)
    try:
        for path in entries:
            path.rename(staging.parent / path.name)
    except BaseException:
        for path in (staging.parent / path.name for path in entries):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(staging: Path) -> Iterator[None]:
    lock = FileLock(staging.with_name(f"{staging.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise MergeError(
            f"Another run is writing {staging.name.removeprefix('.').removesuffix('.merging')} "
            f"now; wait for it or choose another --out."
        ) from error
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it before then finds that it is gone.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
