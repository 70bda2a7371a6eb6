"""The papers' tables: fine-tuned against merged, methods and models side by side, every point."""

from collections.abc import Sequence

from safemerge_tasks.report.document import Cell, Grid, Name, Section
from safemerge_tasks.report.tables import ROWS
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.manifest import SPLITS, Measured, Split, Tuning
from safemerge_tasks.sweep.report.findings import Findings, Row, heading
from safemerge_tasks.sweep.report.numbers import (
    EXPLANATION,
    NOTHING,
    optional,
    over_seeds,
    seed_words,
)

FOLDED_FROM = 16
"""Longer tables are shown on demand."""

Column = tuple[Cell, Sequence[Measured]]
"""A heading and the tasks whose mean the column shows."""


def outcome(sweeps: Sequence[Findings]) -> Section:
    """Return base, fine-tuned and chosen models on test data, a table a fine-tuning."""
    grids = []
    for findings, tuning in tunings_of(sweeps):
        columns = columns_of(findings, tuning, "test")
        rows: list[tuple[Cell, ...]] = [
            (
                named(row),
                _point(row),
                str(len(row.group.seeds) or "") if row.group else "",
                *(over_seeds(row.group, "test", tasks) for _, tasks in columns),
            )
            for row in findings.rows(tuning.name)
        ]
        head: tuple[Cell, ...] = ("model", "point", "seeds", *(name for name, _ in columns))
        grids.append(Grid(head, tuple(rows), title_of(sweeps, findings, tuning)))
    notes = (
        "Test data; the grid point of every method was chosen on validation data. Less ASR is "
        "safer.",
        EXPLANATION,
    )
    return Section("Fine-tuned against merged", notes, tuple(grids))


def methods(sweeps: Sequence[Findings]) -> Section:
    """Return the methods beside each other, a row a task."""
    grids = []
    for findings, tuning in tunings_of(sweeps):
        rows = findings.rows(tuning.name)
        body: list[tuple[Cell, ...]] = [
            (name, *(over_seeds(row.group, "test", tasks) for row in rows))
            for name, tasks in columns_of(findings, tuning, "test")
        ]
        head: tuple[Cell, ...] = ("task", *map(named, rows))
        grids.append(Grid(head, tuple(body), title_of(sweeps, findings, tuning)))
    return Section("Methods side by side", ("Test data, means over seeds.",), tuple(grids))


def models(sweeps: Sequence[Findings]) -> Section:
    """Return several bases beside each other, for the fine-tunings that they share."""
    grids = []
    for name in dict.fromkeys(tuning.name for _, tuning in tunings_of(sweeps)):
        having = [(one, tuning) for one, tuning in tunings_of(sweeps) if tuning.name == name]
        if len(having) < 2:
            continue
        head: list[Cell] = ["model"]
        cells: dict[tuple[str, bool], dict[int, str]] = {}
        for findings, tuning in having:
            for title, tasks in columns_of(findings, tuning, "test"):
                for row in findings.rows(name):
                    found = over_seeds(row.group, "test", tasks)
                    cells.setdefault((row.name, row.ours), {})[len(head)] = found
                text = title.text if isinstance(title, Name) else title
                head.append(Name(f"{findings.model}: {text}"))
        body: list[tuple[Cell, ...]] = [
            (
                label if ours else Name(label),
                *(row.get(place, NOTHING) for place in range(1, len(head))),
            )
            for (label, ours), row in cells.items()
        ]
        grids.append(Grid(tuple(head), tuple(body), (Name(name),)))
    note = "Test data; every method at the grid point chosen for that model and fine-tuning."
    return Section("Models side by side", (note,), tuple(grids))


def points(sweeps: Sequence[Findings]) -> Section:
    """Return every grid point on both splits."""
    grids = []
    for findings, tuning in tunings_of(sweeps):
        chosen = {
            (one.method, one.label, one.point)
            for one in findings.choices
            if one.tuning == tuning.name
        }
        head: list[Cell] = ["method", "point", "chosen", "served as"]
        groups: list[tuple[Cell, Row]] = [
            (named(row), row) for row in findings.rows(tuning.name) if row.ours
        ]
        for (method, label), found in findings.survey.methods(tuning.name).items():
            groups += [(Name(label or method), Row(label or method, one)) for one in found]
        for split in SPLITS:
            tasks = tuning.of(split)
            head += [f"ASR, {split}"] if tasks.safety else []
            head += [f"utility, {split}"] if tasks.utility else []
        rows: list[tuple[Cell, ...]] = []
        for name, row in groups:
            assert row.group is not None
            served = dict.fromkeys(variant.served for variant in row.group.variants)
            cells: list[Cell] = [
                name,
                point_words(row.group.point),
                "✓" if (row.group.method, row.name, row.group.point) in chosen else "",
                ", ".join(served),
            ]
            for split in SPLITS:
                tasks = tuning.of(split)
                both = (tasks.safety, tasks.utility)
                cells += [over_seeds(row.group, split, some) for some in both if some]
            rows.append(tuple(cells))
        title = title_of(sweeps, findings, tuning)
        grids.append(cut(head, rows, title, folded=len(rows) > FOLDED_FROM))
    notes = ("Plain means over the tasks of a kind.", EXPLANATION)
    return Section("All grid points", notes, tuple(grids))


def choices(sweeps: Sequence[Findings]) -> Section:
    """Return what was chosen with its bound, and what else could have been."""
    grids: list[Grid] = []
    rules: list[str] = []
    for findings, tuning in tunings_of(sweeps):
        rows: list[tuple[Cell, ...]] = []
        every: list[tuple[Cell, ...]] = []
        for choice in findings.choices:
            if choice.tuning != tuning.name:
                continue
            rules.append(choice.rule)
            others = [one for one in choice.eligible if one.point != choice.point]
            rows.append(
                (
                    Name(choice.label),
                    "nothing" if choice.point is None else point_words(choice.point) or "no grid",
                    optional(choice.asr),
                    optional(choice.bound) + ("" if choice.meets else " ⚠ above the limit"),
                    optional(choice.utility),
                    choice.reason,
                    "; ".join(point_words(one.point) for one in others) or "none",
                    " ".join(choice.notes),
                )
            )
            every += [
                (
                    Name(choice.label),
                    point_words(one.point),
                    seed_words(one.seeds),
                    optional(one.asr),
                    optional(one.bound),
                    optional(one.utility),
                    long(one.obstacle) if one.obstacle else "" if one.within else "above the limit",
                )
                for one in choice.candidates
            ]
        title = title_of(sweeps, findings, tuning)
        head = ("method", "chosen", "ASR", "upper bound", "utility", "why", "also eligible", "")
        grids.append(Grid(head, tuple(rows), title))
        of_points = ("method", "point", "seeds", "ASR", "upper bound", "utility", "not eligible")
        grids.append(cut(of_points, every, (*title, "all points"), folded=True))
    notes = (
        "On validation data alone, by the rule: " + "; ".join(dict.fromkeys(rules)) + ".",
        "The ASR is the mean over the safety tasks, each pooled over the seeds. Its one-sided "
        "upper bound is Wilson's on the effective number of questions: the seeds' answers to one "
        "question, and near duplicates, are one cluster. It speaks of these seeds.",
    )
    return Section("Choice of the grid point", notes, tuple(grids))


def columns_of(findings: Findings, tuning: Tuning, split: Split) -> list[Column]:
    """Return the columns of a split: its safety tasks, their mean, utility tasks, their mean."""
    tasks = tuning.of(split)
    everything = (*tasks.safety, *tasks.utility)
    groups = [row.group for row in findings.rows(tuning.name) if row.group]
    having = next((one for one in groups if one.complete(split, everything)), None)
    found: list[Column] = []
    for some, word in ((tasks.safety, "mean ASR"), (tasks.utility, "mean utility")):
        found += [(Name(heading(one, everything, having, split)), (one,)) for one in some]
        if len(some) > 1:
            found.append((word, some))
    return found


def named(row: Row) -> Cell:
    """Return a row's name as a cell."""
    return row.name if row.ours else Name(row.name)


def long(text: str) -> str:
    """Return a reason at a length that a table bears."""
    return text if len(text) <= 400 else f"{text[:399]}…"


def cut(
    head: Sequence[Cell],
    rows: Sequence[tuple[Cell, ...]],
    title: tuple[Cell, ...],
    *,
    folded: bool = False,
) -> Grid:
    """Return a table that says how many rows it leaves out; the CSV has all."""
    kept = list(rows[:ROWS])
    if len(rows) > ROWS:
        more = f"and {len(rows) - ROWS:,} more, which --csv has"
        kept.append((more, *("" for _ in head[1:])))
    return Grid(tuple(head), tuple(kept), title, folded)


def _point(row: Row) -> str:
    if row.group is None:
        return f"nothing chosen: {row.choice.reason}" if row.choice else ""
    return point_words(row.group.point) or ("no grid" if row.choice else "")


def tunings_of(sweeps: Sequence[Findings]) -> list[tuple[Findings, Tuning]]:
    """Return all fine-tunings with their sweeps."""
    return [(one, tuning) for one in sweeps for tuning in one.survey.manifest.tunings]


def title_of(sweeps: Sequence[Findings], findings: Findings, tuning: Tuning) -> tuple[Cell, ...]:
    """Return what stands in front of a fine-tuning's table."""
    name = Name(tuning.name)
    return (Name(findings.model), name) if len(sweeps) > 1 else (name,)
