"""A runner that does steps in memory, and graphs for it."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from safemerge_tasks.sweep.graph import CellResult, Graph
from safemerge_tasks.sweep.jobs import Event, Job
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.questions import Asked
from safemerge_tasks.sweep.scheduler import Scheduler
from safemerge_tasks.sweep.spec import Resources
from safemerge_tasks.sweep.steps import Kind, Step
from safemerge_tasks.sweep.store import Store


class JobFailedError(Exception):
    """A job that ends without its result; `ours` says that the reason is a sentence."""

    def __init__(self, reason: str, *, ours: bool = True) -> None:
        super().__init__(reason)
        self.ours = ours


class MachineFailedError(Exception):
    """The machine of a job is gone."""


@dataclass
class FakeRunner:
    """Does jobs one after the other in the order in which they were started.

    Attributes:
        before: called with a job before its steps; may raise one of the errors above.
        refuse: step → why it alone fails while the job goes on.
        jobs: all that were started.
    """

    store: Store
    slots: int = 1
    before: Callable[[Job], None] = lambda _job: None
    refuse: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self._running: deque[Job] = deque()
        self._events: deque[Event] = deque()

    def fits(self, job: Job) -> bool:
        return len(self._running) < self.slots

    def start(self, job: Job, ready: int) -> None:
        assert ready >= 1
        self.jobs.append(job)
        self._running.append(job)

    def next_event(self, timeout: float) -> Event | None:
        if not self._events and self._running:
            self._do(self._running[0])
        event = self._events.popleft() if self._events else None
        if event and event.ended:
            self._running.remove(event.job)
        return event

    def _do(self, job: Job) -> None:
        try:
            self.before(job)
            for step in job.steps:
                if step.key in self.refuse:
                    told = {"failed": step.key, "reason": self.refuse[step.key]}
                    self._events.append(Event(job, told))
                else:
                    self.publish(step.key)
                    self._events.append(Event(job, {"done": step.key}))
            self._events.append(Event(job, ended=True))
        except JobFailedError as error:
            self._events.append(Event(job, ended=True, reason=str(error), ours=error.ours))
        except MachineFailedError as error:
            self._events.append(Event(job, ended=True, reason=str(error), machine_failed=True))

    def publish(self, key: str) -> None:
        if not self.store.done(key):
            with self.store.staging(key) as staged:
                self.store.publish(key, staged, {})
            self.done.append(key)

    def close(self) -> None:
        self.closed = True

    @property
    def started(self) -> list[list[str]]:
        """The steps of every job."""
        return [[step.key for step in job.steps] for job in self.jobs]


def step(
    key: str,
    kind: Kind = "answer",
    group: str | None = None,
    inputs: Sequence[str] = (),
    nbytes: int = 0,
    **work: Any,
) -> Step:
    return Step(key, kind, key, group or f"{kind}s", tuple(inputs), work, nbytes)


def graph_of(*steps: Step, wanted: Sequence[str]) -> Graph:
    """Return a graph whose targets are the wanted steps."""
    nothing = cast(Asked, None)
    outcomes = {key: [CellResult(nothing, key, key)] for key in wanted}
    return Graph({one.key: one for one in steps}, outcomes)


def merged_grid(count: int) -> Graph:
    """Return merges of one pass with their answers, of which one engine gives all."""
    merges = [step(f"merge-{n}", "merge", "pass") for n in range(count)]
    answers = [step(f"answer-{n}", inputs=[f"merge-{n}"]) for n in range(count)]
    return graph_of(*merges, *answers, wanted=[one.key for one in answers])


def run(graph: Graph, runner: FakeRunner, **options: Any) -> Progress:
    """Run a graph; a scheduler that goes round in circles fails the test."""
    before, calls = runner.before, [0]

    def limited(job: Job) -> None:
        calls[0] += 1
        assert calls[0] < 200, "the scheduler goes round in circles"
        before(job)

    runner.before = limited
    return Scheduler(graph, runner.store, runner, resources=Resources(), **options).run()
