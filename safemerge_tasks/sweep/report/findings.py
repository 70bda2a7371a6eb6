"""A sweep with what was chosen and what the gate says: all that its report shows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Figure, Name, Part
from safemerge_tasks.sweep.choosing import Choice, choose_from
from safemerge_tasks.sweep.manifest import (
    MANIFEST,
    SPLITS,
    Manifest,
    Measured,
    Split,
    Tuning,
    Variant,
)
from safemerge_tasks.sweep.outcomes import Group, Survey, Value, read_sweep
from safemerge_tasks.sweep.report.gating import GatedCandidate, chosen_group, gate_candidates
from safemerge_tasks.sweep.report.numbers import harm_word

BASE = "base"
TUNED = "fine-tuned"

Column = tuple[str | Name, Sequence[Measured]]
"""A heading and the tasks whose mean the column shows."""


@dataclass(frozen=True)
class ShownModel:
    """A model in the tables: the base, the fine-tuned one, or what was chosen of a method.

    Attributes:
        name: base, fine-tuned or the method's label.
        group: its results; None where nothing was chosen.
        choice: how it was chosen, for a method.
    """

    name: str
    group: Group | None
    choice: Choice | None = None

    @property
    def ours(self) -> bool:
        """Whether the name is not from a file."""
        return self.choice is None

    @property
    def cell(self) -> str | Name:
        """The name in a table."""
        return self.name if self.ours else Name(self.name)


@dataclass(frozen=True)
class Findings:
    """A sweep's outcome.

    Attributes:
        model: what the base is called in tables.
        survey: all results.
        choices: of every fine-tuning and method.
        gated: what the gate says of each candidate.
    """

    model: str
    survey: Survey
    choices: tuple[Choice, ...]
    gated: tuple[GatedCandidate, ...]

    def rows(self, tuning: str) -> list[ShownModel]:
        """Return a fine-tuning's models in the tables' order."""
        ends = ((BASE, self.survey.base()), (TUNED, self.survey.tuned(tuning)))
        rows = [ShownModel(name, group) for name, group in ends if group]
        rows += [
            ShownModel(choice.label, chosen_group(self.survey, choice), choice)
            for choice in self.choices
            if choice.tuning == tuning
        ]
        return rows

    def columns(self, tuning: Tuning, split: Split) -> list[Column]:
        """Return the columns of a split: its safety tasks and their mean, its utility tasks too."""
        tasks = tuning.of(split)
        everything = (*tasks.safety, *tasks.utility)
        groups = [row.group for row in self.rows(tuning.name) if row.group]
        having = next((one for one in groups if one.complete(split, everything)), None)
        found: list[Column] = []
        for some, word in (
            (tasks.safety, f"mean {harm_word(tasks.safety)}"),
            (tasks.utility, "mean utility"),
        ):
            found += [(Name(heading(one, everything, having, split)), (one,)) for one in some]
            if len(some) > 1:
                found.append((word, some))
        return found

    def values(self) -> Iterator[tuple[Variant, Split, Measured, Value]]:
        """Yield every number that there is."""
        for group in self.survey.groups:
            for split in SPLITS:
                for cell in group.cells[split]:
                    for task, value in cell.values.items():
                        yield cell.variant, split, task, value


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
    """Read a sweep, choose, and compare with the base."""
    survey = read_sweep(manifest, folder)
    choices = choose_from(survey)
    return Findings(
        _last_part(manifest.base), survey, tuple(choices), tuple(gate_candidates(survey, choices))
    )


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


def heading(task: Measured, tasks: Iterable[Measured], group: Group | None, split: Split) -> str:
    """Return what a task's column is called; its metric only where it is not the ASR.

    Args:
        task: which.
        tasks: those beside it.
        group: results that tell whether one minus the metric is shown.
        split: of the data.
    """
    values = [cell.values.get(task) for cell in group.cells[split]] if group else []
    reverse = any(value.reverse for value in values if value)
    metric = f"1 - {task.metric}" if reverse else task.metric
    only = sum(one.task == task.task for one in tasks) == 1
    return task.task if metric == "asr" and only else f"{task.task}, {metric}"


def _last_part(base: str) -> str:
    return base.rstrip("/").rpartition("/")[2] or base
