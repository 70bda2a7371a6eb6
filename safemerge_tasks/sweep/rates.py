"""How long steps take on this machine, from those that it has done."""

import socket
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime

from safemerge_tasks.sweep.graph import Graph
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.steps import Step
from safemerge_tasks.sweep.store import Store


def amount_of(step: Step) -> float:
    """Return how much there is to do in a step: requests, bytes to write, or 1."""
    return float(step.work.get("requests") or step.nbytes or 1)


def about(step: Step) -> str | None:
    """Return the model whose size decides how long a step takes; None where none does."""
    base = (step.work.get("recipe") or step.work.get("config") or step.work).get("base")
    return None if base is None else str(base)


_Sort = tuple[str, bool]
"""A kind of step, and whether its amount is counted: an adapter is one, a checkpoint bytes."""


def _sort(kind: str, amount: float) -> _Sort:
    return kind, amount > 1


class Rates:
    """Seconds for a piece of each kind of step, on this host and with this base.

    Steps that one job does together count as they were published, so a rate already holds the
    start of an engine shared by all of them.
    """

    def __init__(self, graph: Graph, store: Store) -> None:
        self._graph = graph
        self._store = store
        self._seconds: dict[_Sort, float] = defaultdict(float)
        self._amount: dict[_Sort, float] = defaultdict(float)
        self._seen: set[str] = set()
        bases = {about(step) for step in graph.steps.values()} | {None}
        for key in store.results():
            record = store.record(key)
            if record.get("host") == socket.gethostname() and record.get("about") in bases:
                self._learn(key)

    def seconds(self, steps: Iterable[Step]) -> float | None:
        """Return what steps take one after the other; None if a kind was never done here."""
        total = 0.0
        for step in steps:
            amount = amount_of(step)
            sort = _sort(step.kind, amount)
            if not self._amount[sort]:
                return None
            total += amount * self._seconds[sort] / self._amount[sort]
        return total

    def remaining(self, progress: Progress, slots: int) -> float | None:
        """Return the seconds left, if every kind that is left has been timed."""
        for key, status in progress.status.items():
            if status == "done":
                self._learn(key)
        left = self.seconds(
            self._graph.steps[key]
            for key, status in progress.status.items()
            if status in ("waiting", "running")
        )
        return None if left is None else left / max(1, slots)

    def _learn(self, key: str) -> None:
        if key in self._seen:
            return
        self._seen.add(key)
        record = self._store.record(key)
        seconds, amount = record.get("seconds"), record.get("amount")
        if isinstance(seconds, int | float) and isinstance(amount, int | float):
            sort = _sort(str(record.get("kind")), amount)
            self._seconds[sort] += seconds
            self._amount[sort] += amount


def age_of(record: dict[str, object]) -> float | None:
    """Return how many days ago a step was finished; None if its record does not say."""
    try:
        finished = datetime.fromisoformat(str(record["finished"]))
    except (KeyError, ValueError):
        return None
    return (datetime.now(UTC) - finished).total_seconds() / 86_400
