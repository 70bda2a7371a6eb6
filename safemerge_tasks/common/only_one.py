"""Work that one process at a time may do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from safemerge_tasks.common.errors import SafemergeError


@contextmanager
def only_one(lock: Path, busy: str, wait: float = 0) -> Iterator[None]:
    """Hold a lock, which the system releases if the process dies.

    Args:
        lock: the lock's file; its folder is made.
        busy: what to say where another process holds it.
        wait: seconds to wait for it.

    Raises:
        SafemergeError: another process holds it.
        OSError: the file cannot be written.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock, timeout=wait)
    try:
        held.acquire()
    except Timeout:
        raise SafemergeError(busy) from None
    try:
        yield
    finally:
        held.release()
