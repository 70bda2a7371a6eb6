"""Runs that are judged or scored again: rewritten in place, by one process, beside a backup."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.only_one import only_one
from safemerge_tasks.results.runs import Run
from safemerge_tasks.results.samples import Row, content_hash


@contextmanager
def alone_with(run: Run) -> Iterator[dict[str, Any]]:
    """Give a run's results file's content, which no other process rewrites meanwhile.

    Raises:
        SafemergeError: another one has the run.
    """
    # Not beside the run: what evaluates or copies a folder of results need not know of locks.
    lock = cache_dir() / "locks" / content_hash(run.path.resolve())
    busy = f"{run.path} is being judged or scored by another process; wait for it."
    with only_one(lock, busy):
        yield run.summary()


def rewrite(
    run: Run, summary: Mapping[str, Any], rows: Mapping[str, Iterable[Row]], suffix: str
) -> None:
    """Replace the samples of some tasks and then the results, the first state of each kept."""
    for path in [run.path, *(run.samples[task] for task in rows)]:
        _back_up(path, suffix)
    for task, new in rows.items():
        run.write_rows(task, new)
    run.write_summary(summary)


def _back_up(path: Path, suffix: str) -> None:
    """Keep the first state of a file for good: what replaces it later can be made again."""
    backup = path.with_name(path.name + suffix)
    if not backup.exists():
        shutil.copy2(path, backup)
