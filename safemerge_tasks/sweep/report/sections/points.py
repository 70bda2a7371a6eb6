"""Every grid point on both splits."""

from safemerge_tasks.report.document import Section, Table
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.manifest import SPLITS
from safemerge_tasks.sweep.report.findings import Sweeps
from safemerge_tasks.sweep.report.numbers import EXPLANATION, harm_word, over_seeds
from safemerge_tasks.sweep.report.sections import section

FOLDED_FROM = 16
"""Longer tables are shown on demand."""


@section(70)
def points(sweeps: Sweeps) -> Section:
    """Return a table a fine-tuning."""
    tables = []
    for findings, tuning in sweeps.tunings():
        kinds = [
            (split, word, tasks)
            for split in SPLITS
            for word, tasks in (
                (harm_word(tuning.of(split).safety), tuning.of(split).safety),
                ("utility", tuning.of(split).utility),
            )
            if tasks
        ]
        # Of a second stage, which may ask few of very many, those that it asked.
        shown = [
            (name, one)
            for name, one in findings.points(tuning.name)
            if any(one.cells.values()) or not one.by_layers
        ]
        rows = tuple(
            (
                name,
                point_words(group.point),
                "✓" if any(one.group is group for one in findings.choices) else "",
                ", ".join(dict.fromkeys(variant.served for variant in group.variants)),
                *(over_seeds(group, split, tasks) for split, _, tasks in kinds),
            )
            for name, group in shown
        )
        head = ("method", "point", "chosen", "served as")
        tables.append(
            Table(
                (*head, *(f"{word}, {split}" for split, word, _ in kinds)),
                rows,
                sweeps.title(findings, tuning),
                folded=len(rows) > FOLDED_FROM,
            )
        )
    notes = ("Plain means over the tasks of a kind.", EXPLANATION)
    return Section("All grid points", notes, tuple(tables))
