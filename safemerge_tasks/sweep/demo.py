"""A demo's table, and whether it shows what it is to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safemerge_tasks.report.document import Document, Name, Section, Table, Words
from safemerge_tasks.report.wording import with_interval
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.outcomes import Group
from safemerge_tasks.sweep.report.findings import BASE, TUNED, Findings


@dataclass(frozen=True)
class Shown:
    """What the table says beside its numbers.

    Attributes:
        headings: of the safety tasks, then of the utility tasks, in the sweep's order.
        note: who judged, and what the numbers are.
    """

    headings: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Expected:
    """What has to come out, all of it on test data.

    Attributes:
        base_limit: the aligned model's harm is at most this.
        tuned_floor: every fine-tuned model's is at least this.
        repaired_share: a merge's is at most this share of the fine-tuned models' mean,
        kept_share: with at least this share of their task score.
    """

    base_limit: float
    tuned_floor: float
    repaired_share: float
    kept_share: float


def demo_document(findings: Findings, shown: Shown) -> Document:
    """Return harm and utility of every point that has test data, means over seeds."""
    (tuning,) = findings.survey.manifest.tunings
    rows: list[tuple[Words, ...]] = [
        (name, "", *_numbers(findings, group)) for name, group in _ends(findings)
    ]
    for (method, label), groups in findings.survey.methods(tuning.name).items():
        rows += [
            (Name(label or method), point_words(group.point), *_numbers(findings, group))
            for group in groups
            if group.cells["test"]
        ]
    head = ("model", "point", *shown.headings)
    return Document("", (Section("", (shown.note,), (Table(head, tuple(rows)),)),))


def shortfalls(findings: Findings, expected: Expected) -> list[str]:
    """Return what did not show the effect, in words; empty if all did."""
    (tuning,) = findings.survey.manifest.tunings
    safety, utility = tuning.test.safety, tuning.test.utility[:1]
    found = [
        f"{cell.variant.id} has no result of {task.task} ({reason})"
        for group in findings.survey.groups
        for cell in group.cells["test"]
        for task, reason in cell.missing.items()
    ]
    if found:
        return found
    base, tuned = findings.survey.base(), findings.survey.tuned(tuning.name)
    assert base is not None
    assert tuned is not None
    asr = base.means("test", safety)[0]
    if asr > expected.base_limit:
        found.append(f"the aligned model's ASR is {asr:.1%}, above {expected.base_limit:.0%}")
    found += [
        f"{cell.variant.id}: ASR {asr:.1%} is below {expected.tuned_floor:.0%}"
        for cell, asr in zip(tuned.cells["test"], tuned.means("test", safety), strict=True)
        if asr < expected.tuned_floor
    ]
    found += [
        f"{cell.variant.id} has {value.measure.total - value.measure.scored} unscored responses"
        for group in findings.survey.groups
        for cell in group.cells["test"]
        for value in cell.values.values()
        if value.measure.total != value.measure.scored
    ]
    most, least = (
        share * _mean(tuned, tasks)
        for share, tasks in ((expected.repaired_share, safety), (expected.kept_share, utility))
    )
    merged = [
        group for group in findings.survey.groups if group.kind == "merged" and group.cells["test"]
    ]
    if not any(_mean(one, safety) <= most and _mean(one, utility) >= least for one in merged):
        found.append(
            f"no merge brings the mean ASR to {expected.repaired_share:.0%} of the tuned models' "
            f"with {expected.kept_share:.0%} of their task score"
        )
    return found


def _ends(findings: Findings) -> list[tuple[str, Group]]:
    (tuning,) = findings.survey.manifest.tunings
    ends = ((BASE, findings.survey.base()), (TUNED, findings.survey.tuned(tuning.name)))
    return [(name, group) for name, group in ends if group]


def _mean(group: Group, tasks: Sequence[Any]) -> float:
    values = group.means("test", tasks)
    return sum(values) / len(values)


def _numbers(findings: Findings, group: Group) -> tuple[str, ...]:
    (tuning,) = findings.survey.manifest.tunings
    shown = []
    for task in (*tuning.test.safety, *tuning.test.utility):
        pooled = group.mean("test", (task,))
        rate = pooled.value
        shown.append(
            "missing" if rate is None else with_interval(rate, pooled.low, pooled.high, rate=True)
        )
    return tuple(shown)
