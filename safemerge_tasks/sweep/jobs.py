"""Jobs: steps that one process does together, and what they take of a machine."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from safemerge_tasks.sweep.spec import Needs, Resources
from safemerge_tasks.sweep.steps import Kind, Step


@dataclass(frozen=True)
class Job:
    """Steps that one process does, of one group or of several that are alike.

    Attributes:
        number: counts the jobs of a run.
        steps: what to do.
        needs: cores and GPUs; a GPU count is 0 where a machine has none.
        tries: how often it was started and lost to a machine that failed.
        then: what failed together with it, to be tried when it has ended.
    """

    number: int
    steps: tuple[Step, ...]
    needs: Needs
    tries: int = 0
    then: tuple[Step, ...] = ()

    @property
    def kind(self) -> Kind:
        """What its first steps are."""
        return self.steps[0].kind

    @property
    def gpus(self) -> int:
        """Whole GPUs that it needs."""
        return math.ceil(self.needs.gpus or 0)

    @property
    def stem(self) -> str:
        """What its files are called, without a suffix."""
        return f"{self.number:03d}-{self.kind}"

    @property
    def name(self) -> str:
        """Return a name for people."""
        if len(self.steps) == 1:
            return f"{self.kind} {self.steps[0].name}"
        return f"{self.kind} {len(self.steps)} steps, {self.steps[0].name} …"


@dataclass(frozen=True)
class Event:
    """Something a job told, or its end.

    Attributes:
        job: whose.
        told: the worker's event; empty at the end.
        ended: the job is over.
        machine_failed: it did not fail itself, and should be tried again.
        reason: why it failed, at its end.
        ours: the reason is a sentence about the input, which another try would only repeat.
    """

    job: Job
    told: Mapping[str, Any] = field(default_factory=dict)
    ended: bool = False
    machine_failed: bool = False
    reason: str | None = None
    ours: bool = False


class Runner(Protocol):
    """Where jobs run."""

    slots: int
    """How many jobs may run at once."""

    def fits(self, job: Job) -> bool:
        """Return whether a job could start now."""
        ...

    def start(self, job: Job, ready: int) -> None:
        """Start a job; `ready` is how many, with it, could start now."""
        ...

    def next_event(self, timeout: float) -> Event | None:
        """Wait for something to happen; None if nothing did."""
        ...

    def close(self) -> None:
        """End all jobs."""
        ...


def needs_of(kinds: Iterable[Kind], resources: Resources, gpus: int, ranks: int = 1) -> Needs:
    """Return what a job takes: what the sweep says, else GPUs for what computes with a model.

    Merging and scoring take none, so that they hold none while others could use it.

    Args:
        kinds: of steps in it, which are done one after the other.
        resources: what the sweep says.
        gpus: how many there are.
        ranks: GPUs that one engine is spread over.
    """
    usual: Mapping[str, float] = {"finetune": 1.0, "answer": float(ranks), "judge": 1.0}
    asked: Mapping[Kind, Needs] = {kind: getattr(resources, kind) for kind in kinds}
    wants = [
        (usual.get(kind, 0.0) if gpus else 0.0) if needs.gpus is None else needs.gpus
        for kind, needs in asked.items()
    ]
    cpus = [needs.cpus for needs in asked.values() if needs.cpus is not None]
    return Needs(cpus=max(cpus, default=None), gpus=max(wants, default=0))


def judged_apart(resources: Resources, gpus: int, ranks: int = 1) -> bool:
    """Return whether a judge's engine has room beside one that answers; else it waits for its end.

    Without a GPU an engine has all cores, unless the sweep says what each of them takes.
    """
    if not gpus:
        return None not in (resources.answer.cpus, resources.judge.cpus)
    kinds: tuple[Kind, ...] = ("answer", "judge")
    return sum(needs_of([kind], resources, gpus, ranks).gpus or 0 for kind in kinds) <= gpus
