"""What one job has to do, and how it publishes and tells what it has done."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safemerge_tasks.sweep.rates import about, amount_of
from safemerge_tasks.sweep.steps import LIBRARIES, Kind, Step, located, version_of
from safemerge_tasks.sweep.store import Store

Tell = Callable[[Mapping[str, Any]], None]
"""Told what happens: `{"done": key}`, `{"failed": key, "reason": …}`, `{"progress": [n, of]}`, and
`{"busy": key}` of what another sweep works on.
"""


class Session:
    """The steps of a job that are left, with room to make their results in."""

    def __init__(self, steps: Sequence[Step], store: Store, tell: Tell) -> None:
        self.steps = list(steps)
        self.settled: set[str] = set()
        self.store = store
        self.tell = tell
        self.begun = time.time()
        self._percent = 0

    def ready(self, kind: Kind) -> list[Step]:
        """Return the steps of a kind that are left and have their inputs."""
        return [
            step
            for step in self.steps
            if step.kind == kind
            and step.key not in self.settled
            and all(map(self.store.done, step.inputs))
        ]

    def work(self, step: Step) -> dict[str, Any]:
        """Return what to do, with the places of inputs as paths."""
        found: dict[str, Any] = located(step.work, self.store)
        return found

    def publish(self, step: Step, staged: Path) -> None:
        """Make a filled folder the step's result, and tell."""
        now = time.time()
        record = {
            "name": step.name,
            "kind": step.kind,
            "inputs": list(step.inputs),
            "seconds": round(now - self.begun, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "amount": amount_of(step),
            "about": about(step),
            "versions": {name: version_of(name) for name in LIBRARIES[step.kind]},
        }
        self.begun = now
        self.store.publish(step.key, staged, record)
        self.settled.add(step.key)
        self.tell({"done": step.key})

    def progress(self, done: int, total: int) -> None:
        """Tell how far the job is."""
        self.tell({"progress": [done, total]})

    def percent(self, done: int, total: int) -> None:
        """Tell how far a long piece of work is, not more often than a person would ask."""
        percent = 100 * done // total
        if percent != self._percent:
            self._percent = percent
            self.progress(percent, 100)

    def failed(self, step: Step, reason: str) -> None:
        """Tell that one step failed and others go on."""
        self.settled.add(step.key)
        self.tell({"failed": step.key, "reason": reason})
