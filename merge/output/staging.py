"""Output folders that appear whole or not at all.

Everything is written to a folder beside the wanted one, which is renamed when it is complete. A
run that dies leaves `.NAME.merging`, which has no complete manifest and which the next run clears.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from merge.errors import MergeError


def check_target(out: Path) -> None:
    """Check that an output folder can be made.

    Raises:
        MergeError: something is there already, or the place cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise MergeError(f"{out} is a file; choose another --out.")
    if out.is_dir() and any(out.iterdir()):
        raise MergeError(f"{out} exists and is not empty; remove it or choose another --out.")
    parent = _existing_parent(out)
    if not os.access(parent, os.W_OK):
        raise MergeError(f"{parent} cannot be written to; choose another --out.")


def free_bytes(out: Path) -> int:
    """Return the space left where an output folder would be."""
    return shutil.disk_usage(_existing_parent(out)).free


def _existing_parent(out: Path) -> Path:
    return next(parent for parent in out.absolute().parents if parent.is_dir())


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Give a folder to write to, and put it at ``out`` if no error comes.

    Raises:
        MergeError: another run is writing the same output, or the folder cannot be made.
    """
    check_target(out)
    staging = out.absolute().parent / f".{out.absolute().name}.merging"
    try:
        staging.parent.mkdir(parents=True, exist_ok=True)
        with _locked(staging):
            if staging.exists():
                shutil.rmtree(staging)
            staging.mkdir()
            try:
                yield staging
                staging.rename(out)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise MergeError(
            f"{error.filename or staging} cannot be written ({error.strerror}); free space there "
            f"or choose another --out."
        ) from error


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
