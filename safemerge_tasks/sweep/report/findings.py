"""A sweep with what was chosen and what the gate says: all that its report shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Figure, Name, Part
from safemerge_tasks.sweep.choosing import Choice, choose_from
from safemerge_tasks.sweep.manifest import MANIFEST, Manifest, Tuning
from safemerge_tasks.sweep.outcomes import Group, Survey, read_sweep
from safemerge_tasks.sweep.report.gating import GatedCandidate, gate_candidates

BASE = "base"
TUNED = "fine-tuned"


@dataclass(frozen=True)
class Findings:
    """A sweep's outcome.

    Attributes:
        model: what the base is called in tables.
        survey: all results.
        choices: of every fine-tuning and method.
    """

    model: str
    survey: Survey
    choices: tuple[Choice, ...]

    @cached_property
    def gated(self) -> tuple[GatedCandidate, ...]:
        """What the gate says of each candidate."""
        tunings = ((one, self.models(one.name)) for one in self.survey.manifest.tunings)
        return tuple(
            found
            for tuning, models in tunings
            for found in gate_candidates(self.survey, tuning, models)
        )

    def unmerged(self, tuning: str) -> list[tuple[str, Group]]:
        """Return the base and a fine-tuning's models by name."""
        both = ((BASE, self.survey.base()), (TUNED, self.survey.tuned(tuning)))
        return [(name, group) for name, group in both if group]

    def points(self, tuning: str) -> list[tuple[str | Name, Group]]:
        """Return the base, a fine-tuning's models and all grid points, by what tables call them."""
        methods = self.survey.methods(tuning).items()
        merged = [(Name(label), one) for (_, label), groups in methods for one in groups]
        return [*self.unmerged(tuning), *merged]

    def chosen(self, tuning: str) -> list[Choice]:
        """Return a fine-tuning's choices."""
        return [one for one in self.choices if one.tuning == tuning]

    def models(self, tuning: str) -> list[tuple[str, Group]]:
        """Return the base, a fine-tuning's models and what was chosen, by name."""
        chosen = [(one.label, one.group) for one in self.chosen(tuning) if one.group]
        return self.unmerged(tuning) + chosen


@dataclass(frozen=True)
class Sweeps:
    """What a report on sweeps is about.

    Attributes:
        findings: of each sweep.
        figures: of their fine-tunings.
    """

    findings: tuple[Findings, ...]
    figures: tuple[Figure, ...] = ()

    def tunings(self) -> list[tuple[Findings, Tuning]]:
        """Return all fine-tunings with their sweeps."""
        return [(one, tuning) for one in self.findings for tuning in one.survey.manifest.tunings]

    def title(self, findings: Findings, tuning: Tuning | None = None) -> tuple[Part, ...]:
        """Return what stands in front of a sweep's table, or of one of its fine-tunings."""
        model = (Name(findings.model),) if len(self.findings) > 1 else ()
        return model + ((Name(tuning.name),) if tuning else ())


def find(manifest: Manifest, folder: Path) -> Findings:
    """Read a sweep and choose."""
    survey = read_sweep(manifest, folder)
    model = manifest.base.rstrip("/").rpartition("/")[2] or manifest.base
    return Findings(model, survey, tuple(choose_from(survey)))


def any_sweeps(folders: Sequence[Path]) -> bool:
    """Return whether folders are sweeps' outputs, all of them.

    Raises:
        SafemergeError: some are and some are not.
    """
    others = [folder for folder in folders if not (folder / MANIFEST).is_file()]
    if others and len(others) < len(folders):
        raise SafemergeError(
            f"{others[0]} is no sweep's output as the other folders are, it has no {MANIFEST}; "
            "make a report of each kind."
        )
    return not others


def find_all(folders: Sequence[Path]) -> list[Findings]:
    """Read several sweeps; models of the same name get the sweep's name too.

    Raises:
        SafemergeError: a folder has no manifest, or a broken one.
    """
    found = [find(Manifest.read(folder), folder) for folder in folders]
    names = [one.model for one in found]
    bases = [one.survey.manifest.base for one in found]
    sweeps = [f"{one.model} ({one.survey.manifest.name})" for one in found]
    folded = [f"{one.model} ({one.survey.folder})" for one in found]
    for labels in (names, bases, sweeps, folded):
        if len(set(labels)) == len(labels):
            break
    return [replace(one, model=label) for label, one in zip(labels, found, strict=True)]
