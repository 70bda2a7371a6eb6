"""Jobs as Ray tasks: on a cluster whose machines share the store's folder.

Every job runs in a worker process of its own on its machine, as it would locally. When a machine
is lost the job ends as failed for the machine's sake, and the scheduler gives it out again; what
the job had published by then stays. A job that no machine is big enough for fails at once.
"""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safemerge_tasks.sweep.jobs import Event, Job
from safemerge_tasks.sweep.local import end_of, write_job
from safemerge_tasks.sweep.processes import end_group_of
from safemerge_tasks.sweep.ray_cluster import join
from safemerge_tasks.sweep.ray_machines import Machines
from safemerge_tasks.sweep.store import Store

_LOOK_EVERY = 5.0
"""Seconds."""

_EVENTS = ".events"

# Ray would kill a job's worker, but not the engine below it. Left alone, the worker ends both.
_LEAVES_CHILDREN = {"RAY_kill_child_processes_on_worker_exit": "false"}


@dataclass
class _Handed:
    """A job that the cluster has.

    Attributes:
        log: what it prints; what it tells is beside that.
        read: bytes of its events that were passed on.
        heard: when it last told something, once it was started.
    """

    job: Job
    log: Path
    read: int = 0
    heard: float | None = None
    error: dict[str, object] = field(default_factory=dict)

    @property
    def events(self) -> Path:
        return self.log.with_suffix(_EVENTS)


_PASSED_ON = ("SAFEMERGE_", "HF_", "VLLM_", "TOKENIZERS_", "OPENAI_")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_KEYS = "api_key_env"


def passed_on(job: Job, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the starter's settings that a job has too, keys of judges and servers among them."""
    told = [step.work.get(name) or {} for step in job.steps for name in ("judge", "engine")]
    keys = {value for one in told for name, value in one.items() if _KEYS in name}
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_PASSED_ON) or name.lower() in _PROXIES or name in keys
    }


class RayRunner:
    """Runs jobs on a Ray cluster.

    Args:
        store: where results go; the same folder on every machine.
        logs: folder for what jobs print; the same on every machine.
        address: of the cluster; `auto` finds a running one.
        stall: seconds without a word after which a job is taken for dead; None waits for ever.

    Raises:
        SafemergeError: Ray is not installed, or there is no cluster.
    """

    def __init__(
        self, store: Store, logs: Path, address: str = "auto", stall: float | None = None
    ) -> None:
        self._stall = stall
        self._ray: Any = join(address)
        self._machines = Machines(self._ray)
        self._store = store
        self._logs = logs.resolve()
        self.gpus = self._machines.gpus
        self.slots = max(1, self.gpus or self._machines.cores)
        self._run = self._ray.remote(max_retries=0)(run_on_machine)
        self._running: dict[Any, _Handed] = {}
        self._events: deque[Event] = deque()

    def fits(self, job: Job) -> bool:
        """Return whether to hand a job over: Ray queues what has no room yet."""
        del job
        return True

    def start(self, job: Job, ready: int) -> None:
        """Hand a job to the cluster, or end it if no machine is big enough."""
        del ready
        self._machines.look()
        if self._machines.is_hopeless(job):
            self._refuse(job)
            return
        file = write_job(self._logs, job, self._store)
        handed = _Handed(job, self._logs / f"{job.stem}.log")
        # An earlier run may have left events under this name, which its machine removes too late.
        handed.events.unlink(missing_ok=True)
        asked = self._machines.asked(job)
        task = self._run.options(
            num_cpus=asked["CPU"],
            num_gpus=asked["GPU"],
            runtime_env={"env_vars": _LEAVES_CHILDREN},
            name=job.name,
        )
        reference = task.remote(str(file), str(handed.log), passed_on(job, os.environ))
        self._running[reference] = handed

    def next_event(self, timeout: float) -> Event | None:
        """Wait for something to happen."""
        if not self._events:
            self._wait(timeout)
        return self._events.popleft() if self._events else None

    def _wait(self, timeout: float) -> None:
        if not self._running:
            time.sleep(timeout)
            return
        finished, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        for handed in self._running.values():
            self._read_told(handed)
        for reference in finished:
            self._end(reference)
        if time.monotonic() - self._machines.looked >= _LOOK_EVERY:
            self._machines.look()
            self._give_up()

    def _refuse(self, job: Job) -> None:
        reason = self._machines.refusal(job)
        self._events.append(Event(job, ended=True, reason=reason, ours=True))

    def _give_up(self) -> None:
        """End the jobs that wait for a machine which is gone for good, or have fallen silent."""
        for reference, handed in list(self._running.items()):
            hopeless = self._machines.is_hopeless(handed.job)
            if not hopeless and not self._is_silent(handed):
                continue
            self._ray.cancel(reference, force=True)
            del self._running[reference]
            if hopeless:
                self._refuse(handed.job)
            else:
                self._lose(handed.job, f"it told nothing for {(self._stall or 0) / 60:g} minutes")

    def _is_silent(self, handed: _Handed) -> bool:
        """Return whether a job was started and has told nothing for too long."""
        if self._stall is None or handed.heard is None:
            return False
        return time.monotonic() - handed.heard > self._stall

    def _lose(self, job: Job, reason: str) -> None:
        self._events.append(Event(job, ended=True, machine_failed=True, reason=reason))

    def _read_told(self, handed: _Handed) -> None:
        """Pass on what a job told since last time; its machine writes that beside the log."""
        try:
            with handed.events.open("rb") as file:
                file.seek(handed.read)
                told = file.read()
        except FileNotFoundError:
            return
        if told or handed.heard is None:
            handed.heard = time.monotonic()
        # The last line may not be whole yet.
        told = told[: told.rfind(b"\n") + 1]
        handed.read += len(told)
        for line in told.splitlines():
            event = json.loads(line)
            handed.error = event if "error" in event else handed.error
            self._events.append(Event(handed.job, event))

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
            self._lose(job, f"its machine failed ({why})")
            return
        self._read_told(handed)
        self._events.append(end_of(job, status, handed.error, handed.log))

    def close(self) -> None:
        """End all jobs and leave the cluster."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._ray.shutdown()


def run_on_machine(job_file: str, log: str, environment: dict[str, str]) -> int:
    """Run a worker on this machine; return its exit status.

    Args:
        job_file: what the worker reads.
        log: where its output goes; what it tells goes to the same name with `_EVENTS`.
        environment: of whoever started the sweep, as far as it shapes results.
    """
    with (
        Path(log).open("w", encoding="utf-8") as output,
        Path(log).with_suffix(_EVENTS).open("w", encoding="utf-8") as events,
    ):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "safemerge_tasks.sweep.worker", job_file],
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
