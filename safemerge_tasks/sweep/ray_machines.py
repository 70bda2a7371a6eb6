"""The machines of a Ray cluster, and which jobs none of them is big enough for."""

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from safemerge_tasks.sweep.jobs import Job

# Seconds. A machine that is started again, or another in its place, is usually there by then.
_PATIENCE = 180.0
# Ray refuses what is finer than a ten-thousandth.
_GRAINS = 10_000


class _Machine(NamedTuple):
    """What a machine has in all, and when it was last seen alive."""

    resources: Mapping[str, float]
    seen: float


class Machines:
    """What is and was alive in the cluster that `ray` has joined."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._machines: dict[str, _Machine] = {}
        total = ray.cluster_resources()
        self.gpus = int(total.get("GPU", 0))
        self.cores = int(total.get("CPU", 1))
        self.looked = 0.0

    def asked(self, job: Job) -> dict[str, float]:
        """Return what a job takes of one machine, in Ray's terms."""
        gpus = job.needs.gpus or 0
        return {
            "CPU": job.needs.cpus or 1,
            # Ray shares one GPU out, but no more than one.
            "GPU": job.gpus if gpus > 1 else math.ceil(round(gpus * _GRAINS, 6)) / _GRAINS,
        }

    def look(self) -> None:
        """Note what machines are alive."""
        self.looked = time.monotonic()
        for node in self._ray.nodes():
            if node["Alive"]:
                self._machines[node["NodeID"]] = _Machine(node["Resources"], self.looked)

    def is_hopeless(self, job: Job) -> bool:
        """Return whether no machine is big enough, nor was one a moment ago.

        Ray itself would wait for such a machine without end.
        """
        asked = self.asked(job)
        return not any(
            machine.seen >= self.looked - _PATIENCE
            and all(machine.resources.get(name, 0) >= asked[name] for name in asked)
            for machine in self._machines.values()
        )

    def refusal(self, job: Job) -> str:
        """Return why a job that no machine is big enough for is not tried."""
        asked = self.asked(job)
        alive = [m.resources for m in self._machines.values() if m.seen == self.looked]
        most = {name: max((one.get(name, 0) for one in alive), default=0) for name in asked}
        scarce = [name for name in asked if asked[name] > most[name]]
        named = scarce or [name for name in asked if asked[name]]
        has = f"more than {_amounts(named, most)}" if scarce else "all of that"
        settings = [
            f"resources.{job.kind}.{setting}"
            for name, setting, least in (("CPU", "cpus", 1), ("GPU", "gpus", 0))
            if name in named and asked[name] > least
        ]
        lower = (" and " if scarce else " or ").join(settings)
        return (
            f"it asks for {_amounts(named, asked)} of one machine, and none in the Ray cluster has "
            f"{has}; {lower and f'lower {lower} in the file of the sweep, or '}start a machine "
            "that has them"
        )


def _amounts(names: Iterable[str], of: Mapping[str, float]) -> str:
    return " and ".join(f"{of[name]:g} {name}{'' if of[name] == 1 else 's'}" for name in names)
