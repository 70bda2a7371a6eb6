"""Jobs on this machine, each in a process of its own with its share of cores and GPUs."""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.sweep.jobs import Event, Job
from safemerge_tasks.sweep.processes import WarmStart, WorkerProcess, start_cold
from safemerge_tasks.sweep.store import Store
from safemerge_tasks.sweep.work import step_to_json

LOG_TAIL = 15
_SLOW_TO_IMPORT = ("answer", "score", "judge")


@dataclass
class _Running:
    """A job's process and what it holds; `left` are the steps of which it has told nothing yet."""

    process: WorkerProcess
    cores: list[int]
    gpus: list[str]
    left: set[str]


class LocalRunner:
    """Runs jobs here.

    Args:
        store: where results go.
        logs: folder for what jobs print.
        slots: jobs at once; else one a GPU, or one a core and at most 4.
        gpus: indices or names of the GPUs to use.
        warm: starts the jobs that import the most.
    """

    def __init__(
        self,
        store: Store,
        logs: Path,
        slots: int | None = None,
        gpus: Sequence[str] | None = None,
        warm: WarmStart | None = None,
    ) -> None:
        self._warm = warm
        self._store = store
        self._logs = logs
        self._gpus = tuple(visible_gpus() if gpus is None else gpus)
        self._free_gpus = list(self._gpus)
        self._cores = sorted(os.sched_getaffinity(0))
        self._free_cores = list(self._cores)
        self.slots = slots or len(self._free_gpus) or min(len(self._cores), 4)
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._running: dict[int, _Running] = {}

    def fits(self, job: Job) -> bool:
        """Return whether there is room for a job."""
        enough = len(self._free_gpus) >= job.gpus and len(self._free_cores) >= 1
        return not self._running or (enough and len(self._running) < self.slots)

    def start(self, job: Job, ready: int) -> None:
        """Start a job with its share of what is free."""
        room = max(1, min(self.slots - len(self._running), ready))
        count = job.needs.cpus or max(1, len(self._free_cores) // room)
        cores = self._free_cores[:count] or self._cores[:1]
        self._free_cores = self._free_cores[count:]
        gpus, self._free_gpus = self._free_gpus[: job.gpus], self._free_gpus[job.gpus :]
        log = self._logs / f"{job.stem}.log"
        file = write_job(self._logs, job, self._store)
        begin = self._warm.start if self._warm and job.kind in _SLOW_TO_IMPORT else start_cold
        process = begin(file, log, job_environment(cores, gpus if self._gpus else None))
        left = {step.key for step in job.steps}
        self._running[job.number] = _Running(process, cores, gpus, left)
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
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            return None
        running = self._running[event.job.number]
        running.left -= {event.told.get("done"), event.told.get("failed")}
        if event.ended or not running.left:
            # A job with nothing left only ends its engine; what comes next may have its cores.
            self._free_cores = sorted({*self._free_cores, *running.cores})
            running.cores = []
        if event.ended:
            del self._running[event.job.number]
            free = {*self._free_gpus, *running.gpus}
            self._free_gpus = [gpu for gpu in self._gpus if gpu in free]
            running.process.let_go()
        return event

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


def visible_gpus() -> list[str]:
    """Return the indices or names of the GPUs that jobs may use, without starting CUDA here."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # "-1" is how users say none.
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
