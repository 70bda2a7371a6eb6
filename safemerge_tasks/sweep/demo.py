"""A demo's table, and whether it shows what it is to show."""

from dataclasses import dataclass
from statistics import fmean

from safemerge_tasks.report.document import Document, Section, Table
from safemerge_tasks.report.wording import with_interval
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.manifest import Tuning
from safemerge_tasks.sweep.outcomes import Group
from safemerge_tasks.sweep.report.findings import Findings
from safemerge_tasks.sweep.report.numbers import NOTHING


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
    rows = tuple(
        (name, point_words(group.point), *_numbers(tuning, group))
        for name, group in findings.points(tuning.name)
        if group.cells["test"]
    )
    head = ("model", "point", *shown.headings)
    return Document("", (Section("", (shown.note,), (Table(head, rows),)),))


def shortfalls(findings: Findings, expected: Expected) -> list[str]:
    """Return what did not show the effect, in words; empty if all did."""
    (tuning,) = findings.survey.manifest.tunings
    safety, utility = tuning.test.safety, tuning.test.utility[:1]
    cells = [cell for group in findings.survey.groups for cell in group.cells["test"]]
    found = [
        f"{cell.variant.id} has no result of {task.task} ({reason})"
        for cell in cells
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
        f"{cell.variant.id} has {unscored} unscored responses"
        for cell in cells
        for value in cell.values.values()
        if (unscored := value.measure.unscored)
    ]
    most = expected.repaired_share * fmean(tuned.means("test", safety))
    least = expected.kept_share * fmean(tuned.means("test", utility))
    if not any(
        fmean(one.means("test", safety)) <= most and fmean(one.means("test", utility)) >= least
        for one in findings.survey.groups
        if one.kind == "merged" and one.cells["test"]
    ):
        found.append(
            f"no merge brings the mean ASR to {expected.repaired_share:.0%} of the tuned models' "
            f"with {expected.kept_share:.0%} of their task score"
        )
    return found


def _numbers(tuning: Tuning, group: Group) -> list[str]:
    tasks = (*tuning.test.safety, *tuning.test.utility)
    pooled = [group.mean("test", (task,)) for task in tasks]
    return [
        NOTHING if one.value is None else with_interval(one.value, one.low, one.high, rate=True)
        for one in pooled
    ]
