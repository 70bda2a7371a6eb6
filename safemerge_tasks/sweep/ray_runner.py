"""Jobs as Ray tasks: on a cluster whose machines share the store's folder.

Every job runs in a worker process of its own on its machine, as it would locally. When a machine
is lost the job ends as failed for the machine's sake, and the scheduler gives it out again; what
the job had published by then stays. A job that no machine is big enough for fails at once.
"""

import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.sweep.jobs import Event, Job
from safemerge_tasks.sweep.local import end_of, write_job
from safemerge_tasks.sweep.processes import end_group_of
from safemerge_tasks.sweep.store import Store

DISK = "disk"
"""A custom resource, in GB, that a cluster may have for where its machines write checkpoints."""

# Seconds.
_REACHED_WITHIN = 10.0
_LOOK_EVERY = 5.0
# A machine that is started again, or another in its place, is usually there by then.
_PATIENCE = 180.0
# Ray refuses what is finer than a ten-thousandth.
_GRAINS = 10_000

# Ray would kill a job's worker, but not the engine below it. Left alone, the worker ends both.
_LEAVES_CHILDREN = {"RAY_kill_child_processes_on_worker_exit": "false"}


@dataclass
class _Handed:
    """A job that the cluster has; `read` are the bytes of its events that were passed on."""

    job: Job
    read: int = 0
    error: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _Machine:
    """What a machine has in all, and when it was last seen alive."""

    resources: Mapping[str, float]
    seen: float


class RayRunner:
    """Runs jobs on a Ray cluster.

    Args:
        store: where results go; the same folder on every machine.
        logs: folder for what jobs print; the same on every machine.
        address: of the cluster; `auto` finds a running one.

    Raises:
        SafemergeError: Ray is not installed, or there is no cluster.
    """

    def __init__(self, store: Store, logs: Path, address: str = "auto") -> None:
        try:
            import ray
        except ImportError as error:
            raise SafemergeError(
                "Ray is not installed; run `pip install safemerge[ray]`, or leave --ray out."
            ) from error
        self._ray: Any = ray
        try:
            address = _resolved(address)
            _reach(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError) as error:
            raise SafemergeError(
                f"There is no Ray cluster at {address} ({type(error).__name__}); start one with "
                "`ray start --head`, or give --ray-address."
            ) from error
        except RuntimeError as error:
            why = " ".join(str(error).split())[:300]
            raise SafemergeError(f"The Ray cluster at {address} cannot be used: {why}") from error
        self._store = store
        self._logs = logs.resolve()
        total = ray.cluster_resources()
        self.gpus = int(total.get("GPU", 0))
        self._counts_disk = DISK in total
        self.slots = max(1, self.gpus or int(total.get("CPU", 1)))
        self._run = ray.remote(max_retries=0)(run_on_machine)
        self._running: dict[Any, _Handed] = {}
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._machines: dict[str, _Machine] = {}
        self._looked = 0.0

    def fits(self, job: Job) -> bool:
        """Return whether to hand a job over: Ray queues what has no room yet."""
        del job
        return True

    def start(self, job: Job, ready: int) -> None:
        """Hand a job to the cluster, or end it if no machine is big enough."""
        del ready
        asked = self._asked(job)
        self._look()
        if self._is_hopeless(asked):
            self._refuse(job, asked)
            return
        file = write_job(self._logs, job, self._store)
        # An earlier run may have left events under this name, which its machine removes too late.
        self._events_of(job).unlink(missing_ok=True)
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("SAFEMERGE_", "HF_", "VLLM_", "TOKENIZERS_"))
        }
        task = self._run.options(
            num_cpus=asked["CPU"],
            num_gpus=asked["GPU"],
            resources={DISK: asked[DISK]} if asked[DISK] else None,
            runtime_env={"env_vars": _LEAVES_CHILDREN},
            name=job.name,
        )
        self._running[task.remote(str(file), self._log_of(job), environment)] = _Handed(job)

    def next_event(self, timeout: float) -> Event | None:
        """Wait for something to happen."""
        try:
            return self._events.get_nowait()
        except Empty:
            pass
        finished, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        for handed in self._running.values():
            self._read_told(handed)
        for reference in finished:
            self._end(reference)
        if time.monotonic() - self._looked >= _LOOK_EVERY:
            self._look()
            self._refuse_hopeless()
        try:
            return self._events.get_nowait()
        except Empty:
            return None

    def _asked(self, job: Job) -> dict[str, float]:
        """Return what a job takes of one machine, in Ray's terms."""
        gpus = job.needs.gpus or 0
        return {
            "CPU": job.needs.cpus or 1,
            # Ray shares one GPU out, but no more than one.
            "GPU": job.gpus if gpus > 1 else _rounded_up(gpus),
            DISK: _rounded_up(job.nbytes / 1e9) if self._counts_disk else 0,
        }

    def _look(self) -> None:
        """Note what machines are alive."""
        self._looked = time.monotonic()
        for node in self._ray.nodes():
            if node["Alive"]:
                self._machines[node["NodeID"]] = _Machine(node["Resources"], self._looked)

    def _is_hopeless(self, asked: Mapping[str, float]) -> bool:
        """Return whether no machine is big enough, nor was one a moment ago.

        Ray itself would wait for such a machine without end.
        """
        return not any(
            machine.seen >= self._looked - _PATIENCE and _holds(machine.resources, asked)
            for machine in self._machines.values()
        )

    def _refuse(self, job: Job, asked: Mapping[str, float]) -> None:
        alive = [m.resources for m in self._machines.values() if m.seen == self._looked]
        reason = nowhere(job, asked, alive)
        self._events.put(Event(job, ended=True, reason=reason, ours=True))

    def _refuse_hopeless(self) -> None:
        """End the jobs that wait for a machine which is gone for good."""
        for reference, handed in list(self._running.items()):
            asked = self._asked(handed.job)
            if self._is_hopeless(asked):
                self._ray.cancel(reference, force=True)
                del self._running[reference]
                self._refuse(handed.job, asked)

    def _read_told(self, handed: _Handed) -> None:
        """Pass on what a job told since last time; its machine writes that beside the log."""
        try:
            with self._events_of(handed.job).open("rb") as file:
                file.seek(handed.read)
                told = file.read()
        except FileNotFoundError:
            return
        # The last line may not be whole yet.
        told = told[: told.rfind(b"\n") + 1]
        handed.read += len(told)
        for line in told.splitlines():
            event = json.loads(line)
            handed.error = event if "error" in event else handed.error
            self._events.put(Event(handed.job, event))

    def _end(self, reference: Any) -> None:
        handed = self._running.pop(reference)
        job = handed.job
        try:
            status = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._read_told(handed)
            # Such as a folder that the machine does not share.
            cause = getattr(error, "cause", None)
            why = f"{type(cause).__name__}: {cause}" if cause else type(error).__name__
            reason = f"its machine failed ({why})"
            self._events.put(Event(job, ended=True, machine_failed=True, reason=reason))
            return
        self._read_told(handed)
        self._events.put(end_of(job, status, handed.error, Path(self._log_of(job))))

    def _log_of(self, job: Job) -> str:
        return str(self._logs / f"{job.stem}.log")

    def _events_of(self, job: Job) -> Path:
        return _events_beside(self._log_of(job))

    def close(self) -> None:
        """End all jobs and leave the cluster."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._ray.shutdown()


def nowhere(job: Job, asked: Mapping[str, float], machines: Sequence[Mapping[str, float]]) -> str:
    """Return the sentence for a job that no machine is big enough for."""
    most = {name: max((one.get(name, 0) for one in machines), default=0) for name in asked}
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
        f"{has}; {lower and f'lower {lower} in the file of the sweep, or '}start a machine that "
        "has them"
    )


def _amounts(names: Iterable[str], of: Mapping[str, float]) -> str:
    return " and ".join(
        f"{of[name]:.4g} GB of the resource {DISK}"
        if name == DISK
        else f"{of[name]:g} {name}{'' if of[name] == 1 else 's'}"
        for name in names
    )


def _holds(resources: Mapping[str, float], asked: Mapping[str, float]) -> bool:
    return all(resources.get(name, 0) >= amount for name, amount in asked.items())


def _rounded_up(amount: float) -> float:
    return math.ceil(round(amount * _GRAINS, 6)) / _GRAINS


def _resolved(address: str) -> str:
    """Return the address that Ray would connect to.

    Raises:
        ConnectionError: it finds none.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if "://" in address:
        return address
    try:
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError:
        # Ray does not promise to keep this function; only the quick answer is lost with it.
        return address
    return canonicalize_bootstrap_address(address) or address


def _reach(address: str) -> None:
    """Connect once, for Ray would try a cluster that is gone for a quarter of an hour.

    Raises:
        OSError: nobody listens there.
    """
    host, separator, port = address.rpartition(":")
    if "://" in address or not separator:
        return
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_REACHED_WITHIN):
        pass


def _events_beside(log: str) -> Path:
    return Path(log).with_suffix(".events")


def run_on_machine(job_file: str, log: str, environment: dict[str, str]) -> int:
    """Run a worker on this machine; return its exit status.

    Args:
        job_file: what the worker reads.
        log: where its output goes; what it tells goes to the same name with `.events`.
        environment: of whoever started the sweep, as far as it shapes results.
    """
    told = _events_beside(log)
    with (
        Path(log).open("w", encoding="utf-8") as output,
        told.open("w", encoding="utf-8") as events,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "safemerge_tasks.sweep.worker", job_file],
            stdin=subprocess.PIPE,
            stdout=events,
            stderr=output,
            # Ray has set CUDA_VISIBLE_DEVICES and OMP_NUM_THREADS to this task's share, and shares
            # no cores out: were threads bound, all jobs of a machine would take its first ones.
            env={
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                **os.environ,
                "TOKENIZERS_PARALLELISM": "false",
                **environment,
            },
            start_new_session=True,
        )
        # A child that outlives its worker would keep its GPU.
        end_group_of(process.pid)
        return process.wait()
