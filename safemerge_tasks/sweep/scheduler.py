"""The steps of a graph, each as soon as what it reads is there.

A step is needed if it is wanted, or if a needed step that is not done reads it. A group is started
when all inputs of its needed steps are there, made by the group itself or can no longer come. A
judge that has room beside engines reads what is scored while they still answer. What another sweep
of the same store works on is left to it, and looked at again later.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from safemerge_tasks.sweep.graph import ADAPTERS, JOINED, Graph
from safemerge_tasks.sweep.jobs import Event, Job, Runner, judged_apart, needs_of
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.spec import Resources
from safemerge_tasks.sweep.steps import KINDS, Step
from safemerge_tasks.sweep.store import Store

MACHINE_TRIES = 2
"""How often a job is tried again that a machine lost, or that stood still."""

HOPELESS = 3
"""So many jobs that fail for one reason, without a success between, fail for no step's sake."""

BUSY_SECONDS = 5.0
"""How long what another sweep works on is left alone before it is looked at again."""

_JUDGE = "judge "
"""Begins the groups of verdicts that a job of their own gives."""

MOST_REQUESTS = 20_000
"""Of several fine-tuned models together on one engine: verdicts come when it has ended."""


class Scheduler:
    """Runs a graph.

    Args:
        graph: what to do.
        store: where results are.
        runner: where jobs run.
        resources: what jobs may take.
        gpus: whether the machines have any.
        ranks: GPUs that one engine is spread over.
        engines: how many engines share the adapters' requests.
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
        ranks: int = 1,
        engines: int = 1,
        changed: Callable[[Progress], None] = lambda _progress: None,
        earlier: Progress | None = None,
    ) -> None:
        self._graph = graph
        self._store = store
        self._runner = runner
        self._resources = resources
        self._gpus = gpus
        self._ranks = ranks
        self._engines = engines
        self._judged_apart = judged_apart(resources, gpus, ranks)
        self._changed = changed
        self._queue: list[Job] = []
        # Parts of joined groups that wait for a place.
        self._parts: list[Job] = []
        self._busy: dict[str, float] = {}
        self._in_vain: Counter[tuple[str, str]] = Counter()
        # What only the agreement reads comes last.
        self._aside = graph.only_for_agreement()
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
        self._start_what_fits()
        while self.progress.running or self._busy:
            event = self._runner.next_event(timeout=1.0)
            if event:
                self._take(event)
            freed = self._look_at_busy()
            if freed or (event and (event.ended or "done" in event.told)):
                self._start_what_fits()
            self._changed(self.progress)
        self._changed(self.progress)
        return self.progress

    def _take_stock(self) -> None:
        """Find out what is done and what is needed."""
        status = self.progress.status
        for key in self._graph.steps:
            if status.get(key) not in ("running", "failed"):
                status[key] = "done" if self._store.done(key) else "idle"
        for key in self._graph.needed(lambda key: status[key] == "idle"):
            status[key] = "waiting"

    def _look_at_busy(self) -> bool:
        """Return whether something that another sweep worked on is done, or left by it."""
        now = time.monotonic()
        free = []
        for key, since in self._busy.items():
            if self._store.done(key):
                self.progress.status[key] = "done"
                free.append(key)
            elif now - since >= BUSY_SECONDS:
                if self._store.is_held(key):
                    self._busy[key] = now
                else:
                    free.append(key)
        for key in free:
            del self._busy[key]
        return bool(free)

    def _start_what_fits(self) -> None:
        self._give_up_hopeless()
        ready, early = self._ready_jobs()
        jobs = [*ready, *self._parts, *self._queue]
        # What finishes variants goes first; of its kind, what is largest.
        jobs.sort(key=lambda job: (self._is_aside(job), -KINDS.index(job.kind), -len(job.steps)))
        # A judge's start for a few verdicts is worth what would idle.
        jobs += early
        left = len(jobs)
        for job in jobs:
            if self._runner.fits(job):
                for waiting in (self._parts, self._queue):
                    if job in waiting:
                        waiting.remove(job)
                self._start(job, left)
            left -= 1
        self._changed(self.progress)

    def _is_aside(self, job: Job) -> bool:
        return all(step.key in self._aside for step in job.steps)

    def _start(self, job: Job, ready: int) -> None:
        steps = self._not_held_elsewhere(job.steps)
        if not steps:
            return
        self.progress.jobs += 1
        numbered = replace(job, number=self.progress.jobs, steps=steps)
        for step in steps:
            self.progress.status[step.key] = "running"
        self.progress.running[numbered.number] = (numbered, time.time())
        self._runner.start(numbered, ready)

    def _not_held_elsewhere(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Return the steps that no other sweep works on, nor on what they read."""
        free = []
        for step in steps:
            if any(key in self._busy for key in step.inputs) or self._store.is_held(step.key):
                self._busy[step.key] = time.monotonic()
                self.progress.status[step.key] = "waiting"
            else:
                free.append(step)
        return tuple(free)

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
                    self._busy.pop(key, None)
                    break

    def _ready_jobs(self) -> tuple[list[Job], list[Job]]:
        """Return what could start now: groups whose inputs are there, or made by themselves.

        And, apart, the scored part of those that a judge reads while the others are answered.
        """
        groups: dict[str, list[Step]] = defaultdict(list)
        queued = [*self._parts, *self._queue]
        under_way = [*queued, *(job for job, _ in self.progress.running.values())]
        held = {step.key for job in queued for step in job.steps} | self._busy.keys()
        held |= {step.key for job in under_way for step in job.then}
        for key, step in self._graph.steps.items():
            if self.progress.status[key] == "waiting" and key not in held:
                groups[self._group(step)].append(step)
        judged_now = {self._group(job.steps[0]) for job in under_way}
        jobs: list[Job] = []
        early: list[Job] = []
        joined: dict[str, list[Step]] = defaultdict(list)
        awaited = False
        for name, steps in groups.items():
            together = next((one for one in JOINED if name.startswith(one)), None)
            own = {step.key for step in steps}
            inputs = {key for step in steps for key in step.inputs} - own
            if left := {key for key in inputs if self.progress.status[key] != "done"}:
                scored = [step for step in steps if not left.intersection(step.inputs)]
                if scored and name.startswith(_JUDGE) and name not in judged_now:
                    early.append(self._job(scored))
                awaited |= together == ADAPTERS and all(map(self._merges_now, left))
            elif together:
                joined[together] += steps
            else:
                jobs.append(self._job(steps))
        for together, steps in joined.items():
            # An engine takes longer to start than adapters to merge.
            if together == ADAPTERS and awaited:
                continue
            # With the parts that wait: each model by itself would have engines of its own.
            again = [job for job in self._parts if job.steps[0].group.startswith(together)]
            self._parts = [job for job in self._parts if job not in again]
            all_steps = [*(step for job in again for step in job.steps), *steps]
            # Kept, or what has to wait would be divided once more.
            self._parts += [self._job(part) for part in self._divided(all_steps)]
        return jobs, early

    def _merges_now(self, key: str) -> bool:
        """Return whether a step is a merge that runs, or could."""
        step = self._graph.steps[key]
        return (
            step.kind == "merge"
            and key not in self._busy
            and self.progress.status[key] in ("running", "waiting")
            and all(self.progress.status[one] == "done" for one in step.inputs)
        )

    def _group(self, step: Step) -> str:
        apart = self._judged_apart and step.work.get("accelerated")
        return f"{_JUDGE}{step.group}" if apart else step.group

    def _divided(self, steps: Sequence[Step]) -> list[list[Step]]:
        """Divide the steps of joined groups over engines; what is done with one model stays so."""
        owners: dict[str, str] = {}
        models: dict[str, list[Step]] = defaultdict(list)
        for step in steps:
            maker = next((owners[key] for key in step.inputs if key in owners), None)
            owners[step.key] = maker or str(step.work.get("model", step.key))
            models[owners[step.key]].append(step)
        if steps[0].kind == "merge":
            return [list(steps)]
        requests = sum(step.work.get("requests", 0) for step in steps if step.kind == "answer")
        parts = max(self._engines, -(-requests // MOST_REQUESTS))
        parts = max(1, min(parts, len(models)))
        shared = list(models.values())
        bounds = [number * len(shared) // parts for number in range(parts + 1)]
        return [
            [step for some in shared[low:high] for step in some] for low, high in pairwise(bounds)
        ]

    def _job(self, steps: Sequence[Step], tries: int = 0, then: tuple[Step, ...] = ()) -> Job:
        kinds = {step.kind for step in steps if step.work.get("accelerated", True)}
        needs = needs_of(kinds, self._resources, self._gpus, self._ranks)
        return Job(0, tuple(steps), needs, tries, then)

    def _take(self, event: Event) -> None:
        job, told = event.job, event.told
        if "done" in told:
            self.progress.status[told["done"]] = "done"
        elif "failed" in told:
            self._fail(told["failed"], str(told["reason"]))
        elif "busy" in told:
            self._busy[told["busy"]] = time.monotonic()
            self.progress.status[told["busy"]] = "waiting"
        elif "progress" in told:
            done, total = told["progress"]
            self.progress.parts[job.number] = (done, total)
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
        if left and event.machine_failed and job.tries < MACHINE_TRIES:
            self._again(left, job.tries + 1, job.then)
            job = replace(job, then=())
        elif left:
            self._ended_early(job, left, event.reason or "it ended without a result")
        else:
            self._forget_failures(job)
        rest = [step for step in job.then if self.progress.status[step.key] == "waiting"]
        if rest:
            self._again(rest, 0)

    def _ended_early(self, job: Job, left: Sequence[Step], reason: str) -> None:
        """Decide what the end of a job means for the steps that it left undone.

        What follows from a step that failed fails with it. If the job got anywhere, the rest is
        tried again; if not, the first variant is tried by itself, and fails if it is to blame.
        """
        of_failed = {step.key for step in left if self._follows_a_failure(step)}
        for step in left:
            if step.key in of_failed:
                self.progress.status[step.key] = "waiting"
        left = [step for step in left if step.key not in of_failed]
        if not left:
            return
        if len(left) + len(of_failed) < len(job.steps):
            self._forget_failures(job)
            self._again(left, 0)
            return
        why = (job.kind, reason.partition("; see ")[0])
        self._in_vain[why] += 1
        first, rest = self._first_variant(left)
        hopeless = self._in_vain[why] >= HOPELESS
        if rest and not hopeless:
            for step in rest:
                self.progress.status[step.key] = "waiting"
            self._again(first, 0, tuple(rest))
            return
        failed = [*left, *(job.then if hopeless else ())]
        for step in failed:
            # What reads one of the others is their consequence.
            if any(key in {one.key for one in failed} for key in step.inputs):
                self.progress.status[step.key] = "waiting"
            else:
                self._fail(step.key, reason)

    def _follows_a_failure(self, step: Step) -> bool:
        status = self.progress.status
        return any(
            status[key] == "failed" or self._follows_a_failure(self._graph.steps[key])
            for key in step.inputs
        )

    def _first_variant(self, steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
        """Return the steps with one model, and all others."""
        first, mine = str(steps[0].work.get("model", steps[0].key)), set[str]()
        for step in steps:
            own = str(step.work.get("model", step.key)) == first
            if own or any(key in mine for key in step.inputs):
                mine.add(step.key)
        return (
            [step for step in steps if step.key in mine],
            [step for step in steps if step.key not in mine],
        )

    def _forget_failures(self, job: Job) -> None:
        for why in [why for why in self._in_vain if why[0] == job.kind]:
            del self._in_vain[why]

    def _again(self, steps: Sequence[Step], tries: int, then: tuple[Step, ...] = ()) -> None:
        for step in steps:
            self.progress.status[step.key] = "waiting"
        self._queue.append(self._job(steps, tries, then))

    def _fail(self, key: str, reason: str) -> None:
        self.progress.status[key] = "failed"
        self.progress.reasons[key] = reason
