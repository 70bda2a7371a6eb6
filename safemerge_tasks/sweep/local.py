"""Jobs on this machine, each in a process of its own with its share of cores and GPUs."""

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.jobs import Event, Job
from safemerge_tasks.sweep.processes import WorkerProcess
from safemerge_tasks.sweep.spec import SweepSpec
from safemerge_tasks.sweep.steps import KINDS
from safemerge_tasks.sweep.store import Store
from safemerge_tasks.sweep.work import step_to_json

LOG_TAIL = 15
_BESIDE_GPUS = 2
"""Jobs that may run beside one job a GPU: merging and scoring need none."""


@dataclass
class _Running:
    """A job's process and what it holds.

    Attributes:
        share: how much it takes of each GPU.
        left: the steps of which it has told nothing yet.
        heard: when it last told something.
        stalled: it was killed because it told nothing for too long.
    """

    process: WorkerProcess
    cores: list[int]
    gpus: list[str]
    share: float
    left: set[str]
    heard: float
    stalled: bool = False


class LocalRunner:
    """Runs jobs here.

    Args:
        store: where results go.
        logs: folder for what jobs print.
        slots: jobs at once; else one a GPU and some that need none, or one a core and at most 4.
        gpus: indices or names of the GPUs to use.
        stall: seconds without a word after which a job is taken for dead; None waits for ever.
    """

    def __init__(
        self,
        store: Store,
        logs: Path,
        slots: int | None = None,
        gpus: Sequence[str] | None = None,
        stall: float | None = None,
    ) -> None:
        self._stall = stall
        self._store = store
        self._logs = logs
        self._gpus = tuple(visible_gpus() if gpus is None else gpus)
        self._cores = sorted(os.sched_getaffinity(0))
        self._free_cores = list(self._cores)
        beside = len(self._gpus) + _BESIDE_GPUS if self._gpus else min(len(self._cores), 4)
        self.slots = slots or beside
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._running: dict[int, _Running] = {}

    def fits(self, job: Job) -> bool:
        """Return whether there is room for a job."""
        # What has a GPU waits for no core.
        room = len(self._gpus_for(job)) >= job.gpus and bool(self._free_cores or job.gpus)
        return room and len(self._running) < self.slots

    def _gpus_for(self, job: Job) -> list[str]:
        """Return GPUs that have room for a job; one that others share before one that is free."""
        share = min(job.needs.gpus or 0, 1)
        used = dict.fromkeys(self._gpus, 0.0)
        for running in self._running.values():
            for gpu in running.gpus:
                used[gpu] += running.share
        free = [gpu for gpu in self._gpus if used[gpu] + share < 1 + 1e-9]
        return sorted(free, key=lambda gpu: -used[gpu])[: job.gpus]

    def start(self, job: Job, ready: int) -> None:
        """Start a job with its share of what is free."""
        room = max(1, min(self.slots - len(self._running), ready))
        count = job.needs.cpus or max(1, len(self._free_cores) // room)
        cores = self._free_cores[:count] or self._cores[:1]
        self._free_cores = self._free_cores[count:]
        gpus, share = self._gpus_for(job), min(job.needs.gpus or 0, 1)
        log = self._logs / f"{job.stem}.log"
        file = write_job(self._logs, job, self._store)
        environment = job_environment(cores, gpus if self._gpus else None)
        process = WorkerProcess(file, log, environment)
        left = {step.key for step in job.steps}
        self._running[job.number] = _Running(process, cores, gpus, share, left, time.monotonic())
        threading.Thread(target=self._listen, args=(job, process, log), daemon=True).start()

    def _listen(self, job: Job, process: WorkerProcess, log: Path) -> None:
        error: dict[str, object] = {}
        # A child that outlives its worker would keep the pipe open, and its GPU.
        watcher = threading.Thread(target=process.end_group, daemon=True)
        watcher.start()
        for line in process.told:
            if not line.endswith("\n"):
                # It was killed as it told this.
                break
            told = json.loads(line)
            error = told if "error" in told else error
            self._events.put(Event(job, told))
        watcher.join()
        self._events.put(end_of(job, process.wait(), error, log))

    def next_event(self, timeout: float) -> Event | None:
        """Wait for something to happen."""
        self._strike_what_stalls()
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            return None
        running = self._running[event.job.number]
        running.heard = time.monotonic()
        running.left -= {event.told.get("done"), event.told.get("failed")}
        if event.ended or not running.left:
            # A job with nothing left only ends its engine; what comes next may have its cores.
            self._free_cores = sorted({*self._free_cores, *running.cores})
            running.cores = []
        if event.ended:
            if running.stalled:
                reason = f"it told nothing for {(self._stall or 0) / 60:g} minutes"
                event = replace(event, machine_failed=True, reason=reason)
            del self._running[event.job.number]
            running.process.let_go()
        return event

    def _strike_what_stalls(self) -> None:
        """Kill the jobs that have told nothing for too long; their ends come as events."""
        for running in self._running.values():
            silent = time.monotonic() - running.heard
            if self._stall is not None and silent > self._stall and not running.stalled:
                running.stalled = True
                running.process.strike()

    def close(self) -> None:
        """Kill what runs, with all its children."""
        for running in self._running.values():
            running.process.kill()
        self._running.clear()


def write_job(folder: Path, job: Job, store: Store) -> Path:
    """Write what a worker reads."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job.stem}.json"
    described = {"store": str(store.root), "steps": [step_to_json(step) for step in job.steps]}
    replace_file(path, json.dumps(described, indent=1) + "\n")
    return path


def end_of(job: Job, status: int, error: dict[str, object], log: Path) -> Event:
    """Return the event of a worker's end."""
    if status == 0:
        return Event(job, ended=True)
    if error:
        return Event(job, ended=True, reason=str(error["error"]), ours=bool(error["ours"]))
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:]
    how = f"signal {-status}" if status < 0 else f"status {status}"
    last = next((line for line in reversed(tail) if line.strip()), "nothing was printed")
    return Event(job, ended=True, reason=f"the process ended with {how} ({last[:300]}); see {log}")


def job_environment(cores: Sequence[int], gpus: Sequence[str] | None) -> dict[str, str]:
    """Return the environment that keeps a job on its cores and GPUs; None leaves GPUs alone."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    environment.setdefault("OMP_NUM_THREADS", str(len(cores)))
    environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, cores)))
    return environment


def refuse_too_much(spec: SweepSpec, gpus: int) -> None:
    """Refuse a sweep that asks for more GPUs than this machine has.

    Raises:
        SafemergeError: it does.
    """
    asked = {f"resources.{kind}.gpus": getattr(spec.resources, kind).gpus or 0 for kind in KINDS}
    if spec.engine.ranks > 1:
        asked["engine.model_args: tensor_parallel_size * pipeline_parallel_size"] = (
            spec.engine.ranks
        )
    for name, count in asked.items():
        if count > gpus:
            raise SafemergeError(
                f"{spec.name}: {name} is {count:g}, and this machine has "
                f"{gpus or 'no'} GPU{'' if gpus == 1 else 's'}; lower it, or use --ray."
            )


def visible_gpus() -> list[str]:
    """Return the indices or names of the GPUs that jobs may use, without starting CUDA here."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # "-1" is how users say none.
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
