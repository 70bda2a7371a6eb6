"""The steps of a graph, done in an order that keeps few merged checkpoints on disk.

A step is needed if it is wanted, or if a needed step that is not done reads it. A group is started
when all inputs of its needed steps are there or can no longer come.
"""

import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from filelock import Timeout

from safemerge_tasks.sweep.graph import ADAPTERS, Graph
from safemerge_tasks.sweep.jobs import Event, Job, Runner, needs_of
from safemerge_tasks.sweep.spec import Resources
from safemerge_tasks.sweep.steps import KINDS, Step
from safemerge_tasks.sweep.store import Store

Status = Literal["idle", "waiting", "running", "done", "failed"]

MACHINE_TRIES = 3
LOST_TRIES = 3
_SHARE_OF_DISK = 0.8
# A whole, its halves and its quarters: what fails as often without a success is no single step's.
_HOPELESS = 7


@dataclass
class Progress:
    """What the scheduler knows, for whoever shows it.

    Attributes:
        status: of every step; idle ones are not needed.
        reasons: why steps failed.
        consequences: those of them that failed because a step that they read did.
        running: jobs, with when they started.
        parts: job number → how far it says it is.
        found: steps whose result was there before the first job.
        jobs: how many were started.
    """

    status: dict[str, Status] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    consequences: set[str] = field(default_factory=set)
    running: dict[int, tuple[Job, float]] = field(default_factory=dict)
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)
    jobs: int = 0


@dataclass(frozen=True)
class _Failure:
    """What a failed job left undone, and why."""

    steps: tuple[Step, ...]
    reason: str
    ours: bool
    whole: bool


@dataclass
class _Search:
    """The search for those steps of a failed job that are to blame."""

    failures: int = 1
    successes: int = 0

    def learn(self, failure: _Failure) -> None:
        """Count a part of the job that ended."""
        self.failures += failure.whole
        self.successes += not failure.whole

    @property
    def hopeless(self) -> bool:
        """Whether everything fails, so that looking further only costs time."""
        return self.failures >= _HOPELESS and not self.successes


@dataclass(frozen=True)
class _Split:
    """A failed job cut in two, to find out which of its steps is to blame."""

    cause: _Failure
    search: _Search
    halves: list[_Failure] = field(default_factory=list)

    @property
    def systematic(self) -> bool:
        """Whether both halves fail as the whole did, so that it is none of their steps."""
        return all(
            half.whole and half.ours and half.reason == self.cause.reason for half in self.halves
        )


class Scheduler:
    """Runs a graph.

    Args:
        graph: what to do.
        store: where results are.
        runner: where jobs run.
        resources: what jobs may take.
        gpus: whether the machines have any.
        engines: how many engines share the adapters' requests.
        disk: bytes for merged checkpoints; else most of what is free.
        keep: leave merged checkpoints in the store.
        changed: called after every change of the progress.
        earlier: how a smaller graph went; what failed there is not tried again.
    """

    def __init__(
        self,
        graph: Graph,
        store: Store,
        runner: Runner,
        *,
        resources: Resources,
        gpus: int = 0,
        engines: int = 1,
        disk: int | None = None,
        keep: bool = False,
        changed: Callable[[Progress], None] = lambda _progress: None,
        earlier: Progress | None = None,
    ) -> None:
        self._graph = graph
        self._store = store
        self._runner = runner
        self._resources = resources
        self._gpus = gpus
        self._engines = engines
        self._keep = keep
        self._changed = changed
        if disk is None:
            store.root.mkdir(parents=True, exist_ok=True)
            disk = int(shutil.disk_usage(store.root).free * _SHARE_OF_DISK)
        self._disk = disk
        self._queue: list[Job] = []
        self._lost: dict[int, list[str]] = {}
        self._remade: Counter[str] = Counter()
        self._splits: dict[tuple[str, ...], _Split] = {}
        # What only the agreement reads holds no cell up.
        self._aside = graph.only_for_agreement()
        self._readers: dict[str, list[str]] = defaultdict(list)
        for step in graph.steps.values():
            for key in step.inputs:
                self._readers[key].append(step.key)
        self.progress = Progress()
        if earlier:
            self.progress.status = dict.fromkeys(earlier.reasons, "failed")
            self.progress.reasons = dict(earlier.reasons)
            self.progress.consequences = set(earlier.consequences)
            self.progress.found = set(earlier.found)
            self.progress.jobs = earlier.jobs

    def run(self) -> Progress:
        """Do all that is needed; failures stop only what depends on them."""
        self._take_stock()
        if not self.progress.jobs:
            self.progress.found = {
                key for key, status in self.progress.status.items() if status == "done"
            }
        if not self._keep:
            self._clean_up()
        self._start_what_fits()
        while self.progress.running:
            event = self._runner.next_event(timeout=1.0)
            if event:
                self._take(event)
            if event and event.ended:
                self._start_what_fits()
            self._changed(self.progress)
        self._fail_what_has_no_room()
        self._changed(self.progress)
        return self.progress

    def _fail_what_has_no_room(self) -> None:
        """Fail what could not be started although nothing runs any more."""
        for step in self._graph.steps.values():
            if step.kind == "merge" and self.progress.status[step.key] == "waiting":
                self._fail(
                    step.key,
                    f"resources.disk has no room for {step.nbytes / 1e9:.3g} GB beside the "
                    "checkpoints that are kept; raise it, or set keep_checkpoints: false.",
                )
        self._give_up_hopeless()

    def _take_stock(self) -> None:
        """Find out what is done and what is needed."""
        status = self.progress.status
        for key in self._graph.steps:
            if status.get(key) not in ("running", "failed"):
                status[key] = "done" if self._store.done(key) else "idle"
        for key in self._graph.needed(lambda key: status[key] == "idle"):
            status[key] = "waiting"

    def _start_what_fits(self) -> None:
        self._give_up_hopeless()
        self._start_jobs(whole=True)
        if not self.progress.running:
            # Inputs wait for room that only a part of a group can free.
            self._start_jobs(whole=False)
        self._changed(self.progress)

    def _start_jobs(self, *, whole: bool) -> None:
        jobs = [*self._ready_jobs(whole=whole), *self._queue]
        # What frees room and finishes variants goes first; of its kind, what is largest.
        jobs.sort(key=lambda job: (self._is_aside(job), -KINDS.index(job.kind), -len(job.steps)))
        left = len(jobs)
        for job in jobs:
            if self._runner.fits(job) and self._has_room(job) and not self._held_back(job):
                if job in self._queue:
                    self._queue.remove(job)
                self._start(job, left)
            left -= 1

    def _is_aside(self, job: Job) -> bool:
        return all(step.key in self._aside for step in job.steps)

    def _held_back(self, job: Job) -> bool:
        """Return whether a job would take the place of an engine that cells are about to need."""
        if job.kind != "answer" or not self._is_aside(job) or not self.progress.running:
            return False
        return any(
            step.kind == "answer"
            and key not in self._aside
            and self.progress.status[key] == "waiting"
            for key, step in self._graph.steps.items()
        )

    def _start(self, job: Job, ready: int) -> None:
        self.progress.jobs += 1
        numbered = replace(job, number=self.progress.jobs)
        for step in job.steps:
            self.progress.status[step.key] = "running"
        self.progress.running[numbered.number] = (numbered, time.time())
        self._runner.start(numbered, ready)

    def _give_up_hopeless(self) -> None:
        """Fail the steps that read what failed."""
        status = self.progress.status
        for key, step in self._graph.steps.items():
            if status[key] != "waiting":
                continue
            for needed in step.inputs:
                if status[needed] == "failed":
                    blamed = self._graph.steps[needed]
                    reason = self.progress.reasons[needed]
                    if needed not in self.progress.consequences:
                        reason = f"after {blamed.kind} {blamed.name} failed: {reason}"
                    self._fail(key, reason)
                    self.progress.consequences.add(key)
                    break

    def _ready_jobs(self, *, whole: bool) -> list[Job]:
        """Return what could start now: whole groups, else also parts that read checkpoints."""
        groups: dict[str, list[Step]] = defaultdict(list)
        held = {step.key for job in self._queue for step in job.steps}
        for key, step in self._graph.steps.items():
            if self.progress.status[key] == "waiting" and key not in held:
                groups[step.group].append(step)
        jobs: list[Job] = []
        for steps in groups.values():
            ready = [step for step in steps if self._inputs_done(step)]
            if not whole:
                ready = [step for step in ready if self._reads_checkpoint(step)]
            if ready and (len(ready) == len(steps) or not whole):
                made = [self._job(part) for part in self._divided(ready)]
                if len(made) == 1:
                    jobs += made
                else:
                    # Queued, or what has to wait would be divided once more.
                    self._queue += made
        return jobs

    def _divided(self, steps: list[Step]) -> list[list[Step]]:
        """Divide a group's steps over engines, so that what shares something stays together.

        Adapters' requests go by model; scoring goes by task, whose references are embedded once.
        """
        if steps[0].group == ADAPTERS:
            shared, parts = "model", self._engines
        elif steps[0].kind == "score":
            shared, parts = "recording", self._runner.slots - len(self.progress.running)
        else:
            return [steps]
        together: dict[str, list[Step]] = defaultdict(list)
        for step in steps:
            together[str(step.work.get(shared))].append(step)
        divided: list[list[Step]] = [[] for _ in range(max(1, min(parts, len(together))))]
        for number, part in enumerate(together.values()):
            divided[number % len(divided)] += part
        return divided

    def _reads_checkpoint(self, step: Step) -> bool:
        return any(self._graph.steps[key].nbytes for key in step.inputs)

    def _inputs_done(self, step: Step) -> bool:
        return all(self.progress.status[key] == "done" for key in step.inputs)

    def _job(self, steps: list[Step], tries: int = 0) -> Job:
        kind = steps[0].kind
        if kind == "merge":
            steps = self._fitting(steps) or steps[:1]
        return Job(0, tuple(steps), needs_of(kind, self._resources, self._gpus), tries)

    def _fitting(self, steps: list[Step]) -> list[Step]:
        """Return the first steps whose checkpoints fit on the disk now."""
        room = self._disk - self._used()
        found = []
        for step in steps:
            room -= step.nbytes
            if step.nbytes and room < 0:
                break
            found.append(step)
        return found

    def _used(self) -> int:
        """Return the bytes of merged checkpoints that are there or being written."""
        return sum(
            step.nbytes
            for key, step in self._graph.steps.items()
            if step.nbytes and (self.progress.status[key] == "running" or self._store.done(key))
        )

    def _has_room(self, job: Job) -> bool:
        if not job.nbytes:
            return True
        used = self._used()
        return not used or used + job.nbytes <= self._disk

    def _take(self, event: Event) -> None:
        job, told = event.job, event.told
        if "done" in told:
            self.progress.status[told["done"]] = "done"
        elif "failed" in told:
            self._fail(told["failed"], str(told["reason"]))
        elif "progress" in told:
            done, total = told["progress"]
            self.progress.parts[job.number] = (done, total)
        elif "lost" in told:
            self._lost[job.number] = list(told["lost"])
        if event.ended:
            self._end(event)

    def _end(self, event: Event) -> None:
        job = event.job
        del self.progress.running[job.number]
        self.progress.parts.pop(job.number, None)
        left = [step for step in job.steps if self.progress.status[step.key] == "running"]
        for step in [step for step in left if self._store.done(step.key)]:
            # Published, but the machine failed before it could tell.
            self.progress.status[step.key] = "done"
            left.remove(step)
        if job.number in self._lost:
            # Another sweep shared the store and cleaned up: its inputs are made again.
            self._make_again(self._lost.pop(job.number), left)
            left = []
        reason = event.reason or "it ended without a result"
        whole = len(left) == len(job.steps)
        failure = _Failure(tuple(left), reason, event.ours, whole)
        split = self._splits.pop(_keys(job.steps), None)
        if left and event.machine_failed and job.tries < MACHINE_TRIES:
            self._again(failure.steps, job.tries + 1)
            if split:
                self._splits[_keys(failure.steps)] = split
        else:
            self._judge_failure(split, failure)
        if not self._keep:
            self._clean_up()

    def _make_again(self, lost: list[str], readers: list[Step]) -> None:
        """Have what steps read made again, unless that was in vain too often."""
        self._remade.update(lost)
        for step in readers:
            self.progress.status[step.key] = "idle"
            if any(self._remade[key] > LOST_TRIES for key in step.inputs):
                self._fail(
                    step.key,
                    f"the checkpoint that it reads was deleted {LOST_TRIES + 1} times before it "
                    "could be read; set keep_checkpoints: true in all sweeps of this store.",
                )
        self._take_stock()

    def _judge_failure(self, split: _Split | None, failure: _Failure) -> None:
        """Decide what a job's end means for the steps that it left undone, if any."""
        if split is None:
            self._blame(failure, _Search())
            return
        split.halves.append(failure)
        split.search.learn(failure)
        if split.search.hopeless:
            self._give_up(split, failure.reason)
            return
        if len(split.halves) < 2:
            # What is left of this half stays "running" until the other half tells more.
            return
        for half in split.halves:
            if split.systematic:
                for step in half.steps:
                    self._fail(step.key, half.reason)
            else:
                self._blame(half, split.search)

    def _give_up(self, split: _Split, reason: str) -> None:
        """Fail a part of a job of which every part fails, and the parts that are yet to start."""
        given_up = [split]
        for job in list(self._queue):
            queued = self._splits.get(_keys(job.steps))
            if queued is not None and queued.search is split.search:
                self._queue.remove(job)
                del self._splits[_keys(job.steps)]
                given_up.append(queued)
                for step in job.steps:
                    self._fail(step.key, reason)
        for half in (half for one in given_up for half in one.halves):
            for step in half.steps:
                self._fail(step.key, half.reason)

    def _blame(self, failure: _Failure, search: _Search) -> None:
        """Fail a step that failed alone; of several, find the one to blame."""
        if len(failure.steps) == 1:
            self._fail(failure.steps[0].key, failure.reason)
        elif failure.steps:
            split = _Split(failure, search)
            middle = len(failure.steps) // 2
            for part in (failure.steps[:middle], failure.steps[middle:]):
                self._splits[_keys(part)] = split
                self._again(part, 0)

    def _again(self, steps: tuple[Step, ...], tries: int) -> None:
        needs = needs_of(steps[0].kind, self._resources, self._gpus)
        for step in steps:
            self.progress.status[step.key] = "waiting"
        self._queue.append(Job(0, steps, needs, tries))

    def _fail(self, key: str, reason: str) -> None:
        self.progress.status[key] = "failed"
        self.progress.reasons[key] = reason

    def _clean_up(self) -> None:
        """Delete merged checkpoints that nothing reads any more."""
        waiting = ("waiting", "running")
        for key, step in self._graph.steps.items():
            wanted = any(self.progress.status[reader] in waiting for reader in self._readers[key])
            if not step.nbytes or wanted or not self._store.done(key):
                continue
            # Held by a job of another sweep that reads it: that one will clean up.
            with suppress(Timeout), self._store.lock(key).acquire(blocking=False):
                self._store.remove(key)


def _keys(steps: tuple[Step, ...]) -> tuple[str, ...]:
    return tuple(step.key for step in steps)
