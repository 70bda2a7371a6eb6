"""How long what is left will take, from how long finished steps took."""

from collections import defaultdict
from collections.abc import Iterable

from safemerge_tasks.sweep.graph import Graph
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.store import Store


class Estimator:
    """Keeps the mean seconds of a step of each kind.

    Steps that one job does together count as they were published, so a mean already holds the
    start of an engine shared by all of them.
    """

    def __init__(self, graph: Graph, store: Store) -> None:
        self._graph = graph
        self._store = store
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._seen: set[str] = set()

    def remaining(self, progress: Progress, slots: int) -> float | None:
        """Return the seconds left, if at least one step of every kind left has been timed."""
        done = (key for key, status in progress.status.items() if status == "done")
        self._learn(done)
        total = 0.0
        for key, status in progress.status.items():
            if status in ("waiting", "running"):
                timed = self._seconds[self._graph.steps[key].kind]
                if not timed:
                    return None
                total += sum(timed) / len(timed)
        return total / max(1, slots)

    def _learn(self, keys: Iterable[str]) -> None:
        for key in keys:
            if key not in self._seen:
                self._seen.add(key)
                seconds = self._store.record(key).get("seconds")
                if isinstance(seconds, int | float):
                    self._seconds[self._graph.steps[key].kind].append(float(seconds))
