"""The disk that merged checkpoints take: how many fit, and which are read no more."""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from filelock import Timeout

from safemerge_tasks.sweep.graph import Graph
from safemerge_tasks.sweep.jobs import Job
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.steps import Step
from safemerge_tasks.sweep.store import Store

_SHARE = 0.8


class Room:
    """Room for merged checkpoints.

    Args:
        graph: whose merges they are.
        store: where they are.
        progress: how far the graph is.
        budget: bytes that they may take; None is most of what is free, now and whenever asked, so
            that what others write to the disk counts.
    """

    def __init__(
        self, graph: Graph, store: Store, progress: Progress, budget: int | None = None
    ) -> None:
        self._merges = {key: step for key, step in graph.steps.items() if step.nbytes}
        self._store = store
        self._progress = progress
        self._budget = budget
        self._readers: dict[str, list[str]] = defaultdict(list)
        for step in graph.steps.values():
            for key in step.inputs:
                self._readers[key].append(step.key)

    def fitting(self, steps: Sequence[Step]) -> list[Step]:
        """Return the first steps whose checkpoints fit now."""
        room = self._limit() - self._used()
        found = []
        for step in steps:
            room -= step.nbytes
            if step.nbytes and room < 0:
                break
            found.append(step)
        return found

    def holds(self, job: Job) -> bool:
        """Return whether what a job writes fits now; something always does where nothing is."""
        if not job.nbytes:
            return True
        used = self._used()
        return not used or used + job.nbytes <= self._limit()

    def clean_up(self) -> None:
        """Delete merged checkpoints that nothing reads any more."""
        status = self._progress.status
        for key in self._merges:
            wanted = any(status[reader] in ("waiting", "running") for reader in self._readers[key])
            if wanted or not self._store.done(key):
                continue
            # Held by a job of another sweep that reads it: that one will clean up.
            with suppress(Timeout), self._store.lock(key).acquire(blocking=False):
                self._store.remove(key)

    def _limit(self) -> int:
        if self._budget is not None:
            return self._budget
        self._store.root.mkdir(parents=True, exist_ok=True)
        there = sum(step.nbytes for key, step in self._merges.items() if self._store.done(key))
        return there + int(shutil.disk_usage(self._store.root).free * _SHARE)

    def _used(self) -> int:
        """Return the bytes of checkpoints that are there or being written."""
        return sum(
            step.nbytes
            for key, step in self._merges.items()
            if self._progress.status[key] == "running" or self._store.done(key)
        )
