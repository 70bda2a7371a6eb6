"""Runs that are judged or scored again: rewritten in place, beside a backup.

Judging may take hours and needs no lock. Whoever is done takes one, reads what is there by then,
puts the own rows into it and writes, so that two judges at once keep both judges' rows.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.common.atomic_write import copy_whole
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.only_one import only_one
from safemerge_tasks.results.completeness import refuse_incomplete
from safemerge_tasks.results.runs import Run
from safemerge_tasks.results.samples import Row, stream_rows

LOCK = ".safemerge.lock"
"""The lock's file in a folder of results; it stays, because removing it would make two locks."""

WAIT = 600.0
"""Seconds for which another process may rewrite; it reads and writes files and nothing else."""

Rows = Mapping[str, Iterable[Row]]
"""Task → its rows."""

Change = Callable[[dict[str, Any], Rows], Rows]
"""From a results file's content, which it changes, and the rows now there to those to write."""


def rewrite(run: Run, tasks: Sequence[str], change: Change, suffix: str) -> None:
    """Change the results and the samples of some tasks; the first state of each file is kept.

    Args:
        run: the run.
        tasks: whose samples are rewritten.
        change: what is done to what is there now.
        suffix: ends the backups' names.

    Raises:
        SafemergeError: a file cannot be written, a backup is cut off, or another process has the
            folder for too long.
    """
    folder = run.path.parent
    busy = f"{folder} is being rewritten by another process for {WAIT:.0f} seconds; end it."
    try:
        with only_one(folder / LOCK, busy, WAIT):
            summary = run.summary()
            _back_up(run.path, suffix, lambda backup: Run(backup, {}).summary())
            for task in tasks:
                _back_up(run.samples[task], suffix, _whole_samples(summary, task))
            # Streamed: what is kept goes from the old file to the new one.
            rows = change(summary, {task: stream_rows(run.samples[task]) for task in tasks})
            for task, new in rows.items():
                run.write_rows(task, new)
            run.write_summary(summary)
    except OSError as error:
        raise SafemergeError(
            f"{folder} cannot be rewritten ({error.strerror}); nothing that was there is lost, "
            "the same command tries again."
        ) from error


def _whole_samples(summary: Mapping[str, Any], task: str) -> Callable[[Path], None]:
    def check(backup: Path) -> None:
        rows = Counter(row.get("filter") or "none" for row in stream_rows(backup))
        refuse_incomplete(backup, summary, task, rows)

    return check


def _back_up(path: Path, suffix: str, check: Callable[[Path], Any]) -> None:
    """Keep the first state of a file for good: what replaces it later can be made again.

    Raises:
        SafemergeError: a backup is there and is cut off, by an older safemerge's copying.
    """
    backup = path.with_name(path.name + suffix)
    if not backup.exists():
        _keep(path, backup)
        return
    try:
        check(backup)
    except SafemergeError as error:
        if not _begins_with(path, backup):
            raise SafemergeError(
                f"{backup} is cut off, and {path.name} is not what it was copied from any more; "
                "put lm-eval's own file there, or delete it to do without."
            ) from error
        backup.unlink()
        _keep(path, backup)


def _keep(path: Path, backup: Path) -> None:
    try:
        # A second name needs no room. Our files are replaced, so the old content stays under it.
        os.link(os.path.realpath(path), backup)
    except OSError:
        copy_whole(path, backup)


def _begins_with(path: Path, start: Path) -> bool:
    with path.open("rb") as whole, start.open("rb") as part:
        return all(
            whole.read(len(block)) == block for block in iter(lambda: part.read(1 << 20), b"")
        )
