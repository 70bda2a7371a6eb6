"""How a repair ended: base, fine-tuned and repaired model, and what has to be said of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.sweep.choosing import Choice
from safemerge_tasks.sweep.manifest import Tasks
from safemerge_tasks.sweep.outcomes import Group
from safemerge_tasks.sweep.report.findings import Findings
from safemerge_tasks.sweep.report.gating import GatedCandidate

TUNING = "tuned"
"""What the one fine-tuning is called."""

RESTORED = "restored"


@dataclass(frozen=True)
class Repaired:
    """How a repair ended.

    Attributes:
        findings: base, fine-tuned and repaired model, measured.
        choice: what was taken; None where nothing is within the limit.
        advice: what to try, where nothing is or test data contradict.
        failed: step → why it failed.
        answers: how many answers of merged models were judged.
        out: the repaired model; None without one.
        written: the report's files and the baseline.
        notes: what has to be known of questions and models.
    """

    findings: Findings
    choice: Choice | None
    advice: str
    failed: Mapping[str, str]
    answers: int
    out: Path | None
    written: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def gated(self) -> GatedCandidate | None:
        """What the gate says of it against the base."""
        label = self.choice.label if self.choice else None
        return next((one for one in self.findings.gated if one.label == label and one.pooled), None)

    @property
    def tasks(self) -> Tasks:
        """The tasks on test data."""
        return self.findings.survey.manifest.tunings[0].test

    def models(self) -> list[tuple[str, Group]]:
        """Return base, fine-tuned and repaired model by name, with what was measured of them."""
        models = self.findings.unmerged(TUNING)
        if self.choice and self.choice.group:
            models.append((RESTORED, self.choice.group))
        return models


def as_json(repaired: Repaired) -> dict[str, Any]:
    """Return what a program would read of a repair."""
    choice, gated = repaired.choice, repaired.gated
    return {
        "out": repaired.out and str(repaired.out),
        "method": choice and choice.method,
        "point": choice and dict(choice.point or ()),
        "validation": choice
        and {"asr": choice.asr, "upper bound": choice.bound, "utility": choice.utility},
        "test": {name: _measured(group, repaired.tasks) for name, group in repaired.models()},
        "gate": None
        if gated is None
        else {one.check.task: str(one.decision) for one in gated.comparisons},
        "answers judged": repaired.answers,
        "advice": repaired.advice or None,
        "notes": list(repaired.notes),
        "failed": dict(repaired.failed),
        "written": [str(path) for path in repaired.written],
    }


def _measured(group: Group, tasks: Tasks) -> dict[str, float | None]:
    safety = group.mean("test", tasks.safety)
    return {
        "asr": safety.value,
        "asr low": safety.low,
        "asr high": safety.high,
        "utility": group.mean("test", tasks.utility).value,
    }
