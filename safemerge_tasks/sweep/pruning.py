"""Taking old results out of a store."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from safemerge_tasks.sweep.rates import age_of
from safemerge_tasks.sweep.store import Store


@dataclass(frozen=True)
class Pruned:
    """What was taken, or would be."""

    steps: int
    nbytes: int


def prune(store: Store, days: float, *, really: bool = True) -> Pruned:
    """Remove the results that were finished more than some days ago.

    What a sweep works on now stays, and so do recorded requests, which are small: a sweep that is
    run again asks what it asked before. Output folders have copies of their own.

    Args:
        store: where.
        days: how old a result has to be; what does not say when it was made is old.
        really: else only count.
    """
    steps = nbytes = 0
    for key in store.results():
        age = age_of(store.record(key))
        if age is not None and age <= days:
            continue
        with suppress(Timeout), store.lock(key).acquire(blocking=False):
            nbytes += _size(store.folder(key))
            steps += 1
            if really:
                store.remove(key)
                shutil.rmtree(store.work_folder(key), ignore_errors=True)
    return Pruned(steps, nbytes)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
