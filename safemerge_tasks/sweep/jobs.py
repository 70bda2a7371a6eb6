"""Jobs: steps that one process does together, and what they take of a machine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from safemerge_tasks.sweep.spec import Needs, Resources
from safemerge_tasks.sweep.steps import Kind, Step


@dataclass(frozen=True)
class Job:
    """Steps of one group.

    Attributes:
        number: counts the jobs of a run.
        steps: what to do.
        needs: cores and GPUs; a GPU count is 0 where a machine has none.
        tries: how often it was started and lost to a machine that failed.
    """

    number: int
    steps: tuple[Step, ...]
    needs: Needs
    tries: int = 0

    @property
    def kind(self) -> Kind:
        """What its steps are."""
        return self.steps[0].kind

    @property
    def nbytes(self) -> int:
        """Bytes of the merged checkpoints that it writes."""
        return sum(step.nbytes for step in self.steps)

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


def needs_of(kind: Kind, resources: Resources, gpus: int) -> Needs:
    """Return what a job takes: what the sweep says, else a GPU for what computes with a model."""
    asked: Needs = getattr(resources, kind)
    wants = asked.gpus
    if wants is None:
        wants = 1.0 if gpus and kind in ("finetune", "answer", "score", "judge") else 0.0
    return Needs(cpus=asked.cpus, gpus=wants)
