"""Jobs as Ray tasks: on a cluster whose machines share the store's folder.

Every job runs in a worker process of its own on its machine, as it would locally. When a machine
is lost the job ends as failed for the machine's sake, and the scheduler gives it out again; what
the job had published by then stays.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.sweep.jobs import Event, Job
from safemerge_tasks.sweep.local import end_of, write_job
from safemerge_tasks.sweep.store import Store

DISK = "disk"
"""A custom resource, in GB, that a cluster may have for where its machines write checkpoints."""


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
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SafemergeError(
                f"There is no Ray cluster at {address} ({type(error).__name__}); start one with "
                "`ray start --head`, or give --ray-address."
            ) from error
        self._store = store
        self._logs = logs.resolve()
        total = ray.cluster_resources()
        self.gpus = int(total.get("GPU", 0))
        self._counts_disk = DISK in total
        self.slots = max(1, self.gpus or int(total.get("CPU", 1)))
        self._run = ray.remote(max_retries=0)(run_on_machine)
        self._running: dict[Any, Job] = {}
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._seen: dict[int, int] = {}

    def fits(self, job: Job) -> bool:
        """Return whether to hand a job over: Ray queues what has no room yet."""
        del job
        return True

    def start(self, job: Job, ready: int) -> None:
        """Hand a job to the cluster."""
        del ready
        file = write_job(self._logs, job, self._store)
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("SAFEMERGE_", "HF_", "VLLM_", "TOKENIZERS_"))
        }
        task = self._run.options(
            num_cpus=job.needs.cpus or 1,
            num_gpus=job.needs.gpus or 0,
            resources={DISK: job.nbytes / 1e9} if self._counts_disk and job.nbytes else None,
            name=job.name,
        )
        self._running[task.remote(str(file), self._log_of(job), environment)] = job

    def next_event(self, timeout: float) -> Event | None:
        """Wait for something to happen."""
        try:
            return self._events.get_nowait()
        except Empty:
            pass
        finished, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout)
        for job in self._running.values():
            self._read_told(job)
        for reference in finished:
            self._end(reference)
        try:
            return self._events.get_nowait()
        except Empty:
            return None

    def _read_told(self, job: Job) -> list[dict[str, Any]]:
        """Pass on what a job told since last time; its machine writes that beside the log."""
        path = Path(self._log_of(job)).with_suffix(".events")
        try:
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        # The last line may not be whole yet.
        told = [json.loads(line) for line in lines if line.endswith("\n")]
        for event in told[self._seen.get(job.number, 0) :]:
            self._events.put(Event(job, event))
        self._seen[job.number] = len(told)
        return told

    def _end(self, reference: Any) -> None:
        job = self._running.pop(reference)
        try:
            status = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._read_told(job)
            reason = f"its machine failed ({type(error).__name__})"
            self._events.put(Event(job, ended=True, machine_failed=True, reason=reason))
            return
        errors = [event for event in self._read_told(job) if "error" in event]
        self._events.put(end_of(job, status, (errors or [{}])[-1], Path(self._log_of(job))))

    def _log_of(self, job: Job) -> str:
        return str(self._logs / f"{job.stem}.log")

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
        log: where its output goes; what it tells goes to the same name with `.events`.
        environment: of whoever started the sweep, as far as it shapes results.
    """
    told = Path(log).with_suffix(".events")
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
        return process.wait()
