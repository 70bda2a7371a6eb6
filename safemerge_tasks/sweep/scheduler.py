"""The steps of a graph, done in an order that keeps few merged checkpoints on disk.

A step is needed if it is wanted, or if a needed step that is not done reads it. A group is started
when all inputs of its needed steps are there or can no longer come.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace

from safemerge_tasks.sweep.blame import Blame, Failure
from safemerge_tasks.sweep.graph import ADAPTERS, Graph
from safemerge_tasks.sweep.jobs import Event, Job, Runner, needs_of
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.room import Room
from safemerge_tasks.sweep.spec import Resources
from safemerge_tasks.sweep.steps import KINDS, Step
from safemerge_tasks.sweep.store import Store

MACHINE_TRIES = 3
LOST_TRIES = 3


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
        self._queue: list[Job] = []
        self._lost: dict[int, list[str]] = {}
        self._remade: Counter[str] = Counter()
        # What only the agreement reads holds no cell up.
        self._aside = graph.only_for_agreement()
        self._blame = Blame(self._fail, lambda steps: self._again(steps, 0), self._withdraw)
        self.progress = Progress()
        self._room = Room(graph, store, self.progress, disk)
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
            self._room.clean_up()
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
            if self._runner.fits(job) and self._room.holds(job) and not self._held_back(job):
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
            steps = self._room.fitting(steps) or steps[:1]
        return Job(0, tuple(steps), needs_of(kind, self._resources, self._gpus), tries)

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
        failure = Failure(tuple(left), reason, event.ours, whole)
        if left and event.machine_failed and job.tries < MACHINE_TRIES:
            self._blame.tried_again(job.steps, failure.steps)
            self._again(failure.steps, job.tries + 1)
        else:
            self._blame.ended(job.steps, failure)
        if not self._keep:
            self._room.clean_up()

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

    def _again(self, steps: tuple[Step, ...], tries: int) -> None:
        needs = needs_of(steps[0].kind, self._resources, self._gpus)
        for step in steps:
            self.progress.status[step.key] = "waiting"
        self._queue.append(Job(0, steps, needs, tries))

    def _withdraw(self, keys: tuple[str, ...]) -> bool:
        """Take a job out of the queue, if it is there."""
        for job in self._queue:
            if tuple(step.key for step in job.steps) == keys:
                self._queue.remove(job)
                return True
        return False

    def _fail(self, key: str, reason: str) -> None:
        self.progress.status[key] = "failed"
        self.progress.reasons[key] = reason
