"""Every grid point on both splits."""

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.manifest import SPLITS
from safemerge_tasks.sweep.report.findings import ShownModel, Sweeps
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
        shown: list[tuple[str | Name, ShownModel]] = [
            (row.cell, row) for row in findings.rows(tuning.name) if row.ours
        ]
        for (_, label), groups in findings.survey.methods(tuning.name).items():
            # Of a second stage, which may ask few of very many, those that it asked.
            asked = [one for one in groups if any(one.cells.values()) or not one.by_layers]
            shown += [(Name(label), ShownModel(label, one)) for one in asked]
        rows: list[tuple[Words, ...]] = []
        for name, row in shown:
            assert row.group is not None
            served = dict.fromkeys(variant.served for variant in row.group.variants)
            rows.append(
                (
                    name,
                    point_words(row.group.point),
                    "✓" if any(one.takes(row.group) for one in findings.choices) else "",
                    ", ".join(served),
                    *(over_seeds(row.group, split, tasks) for split, _, tasks in kinds),
                )
            )
        head = ("method", "point", "chosen", "served as")
        tables.append(
            Table(
                (*head, *(f"{word}, {split}" for split, word, _ in kinds)),
                tuple(rows),
                sweeps.title(findings, tuning),
                folded=len(rows) > FOLDED_FROM,
            )
        )
    notes = ("Plain means over the tasks of a kind.", EXPLANATION)
    return Section("All grid points", notes, tuple(tables))
