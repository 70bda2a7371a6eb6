"""How far a sweep is."""

from dataclasses import dataclass, field
from typing import Literal

from safemerge_tasks.sweep.jobs import Job

Status = Literal["idle", "waiting", "running", "done", "failed"]


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
