"""What a reader has to know before believing the tables: verdicts, agreement, failures, sources."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from safemerge_tasks.gate.policy import MARGIN
from safemerge_tasks.gate.reporters.wording import change, questions, side
from safemerge_tasks.report.document import Cell, Grid, Name, Section
from safemerge_tasks.report.provenance import is_secret, plain
from safemerge_tasks.report.wording import cell
from safemerge_tasks.sweep.choosing import point_words
from safemerge_tasks.sweep.manifest import MANIFEST, SPLITS, Manifest
from safemerge_tasks.sweep.report.findings import TUNED, Findings
from safemerge_tasks.sweep.report.gating import Verdict
from safemerge_tasks.sweep.report.numbers import seed_words
from safemerge_tasks.sweep.report.tables import cut, long, title_of, tunings_of

DEPTH = 6
"""Settings nested deeper are shown as one text."""

DIFFERENT = 8
"""A setting with more values than that is one of each result's own."""


def gate(sweeps: Sequence[Findings]) -> Section:
    """Return the gate's verdicts against the base."""
    grids = []
    head = ("outcome", "model", "seeds", "task", "base", "model's", "change", "questions", "why")
    for findings, tuning in tunings_of(sweeps):
        title = title_of(sweeps, findings, tuning)
        found = [one for one in findings.verdicts if one.tuning == tuning.name]
        pooled = [row for one in found if one.pooled for row in _verdict(one)]
        single = [row for one in found if not one.pooled for row in _verdict(one)]
        if pooled:
            grids.append(Grid(head, tuple(pooled), title))
        if single:
            grids.append(cut(head, single, (*title, "each seed by itself"), folded=True))
    notes = (
        f"As `safemerge check` decides on test data: an increase of the ASR over the base's by up "
        f"to {MARGIN:.0%} passes if its one-sided 95 % upper bound is within that; one that is "
        "surely more than none is a regression; else the questions cannot tell.",
        "The seeds of a row are judged together, the answers to one question as one cluster, "
        "because the base answered it once. The change has one-sided bounds.",
    )
    return Section("Gate against the base", notes, tuple(grids))


def agreement(sweeps: Sequence[Findings]) -> Section:
    """Return how often adapters answered as their merged checkpoints do."""
    grids = []
    for findings in sweeps:
        rows: list[tuple[Cell, ...]] = [
            (
                Name(one.variant),
                one.split,
                f"{one.equal:,} of {one.total:,}",
                f"{one.equal / one.total:.1%}" if one.total else "",
            )
            for one in findings.survey.manifest.agreement
        ]
        if rows:
            title = (Name(findings.model),) if len(sweeps) > 1 else ()
            grids.append(cut(("variant", "split", "equal answers", "share"), rows, title))
    note = "Greedy answers of variants served as adapters that equal their merged checkpoint's."
    return Section("Adapter serving against merged checkpoints", (note,), tuple(grids))


def failures(sweeps: Sequence[Findings]) -> Section:
    """Return the results that are missing, with the reasons."""
    grids = []
    for findings in sweeps:
        rows: list[tuple[Cell, ...]] = []
        for group in findings.survey.groups:
            for split in SPLITS:
                for one in group.cells[split]:
                    reasons: dict[str, list[str]] = {}
                    for task, reason in one.missing.items():
                        reasons.setdefault(reason, []).append(task.task)
                    rows += [
                        (
                            Name(one.variant.id),
                            Name(group.label or group.method or group.kind),
                            point_words(group.point),
                            seed_words(one.variant.seeds),
                            split,
                            Name(", ".join(tasks)),
                            long(reason),
                        )
                        for reason, tasks in reasons.items()
                    ]
        if rows:
            head = ("variant", "method", "point", "seeds", "split", "tasks", "reason")
            title = (Name(findings.model),) if len(sweeps) > 1 else ()
            grids.append(cut(head, rows, title))
    return Section("Missing results", (), tuple(grids))


def sources(sweeps: Sequence[Findings]) -> Section:
    """Return every number with the files it is from, and how all of them were made."""
    grids = []
    for findings in sweeps:
        survey = findings.survey
        title: tuple[Cell, ...] = (Name(findings.model),) if len(sweeps) > 1 else ()
        rows: list[tuple[Cell, ...]] = []
        settings: dict[tuple[str, str], int] = {}
        for group in survey.groups:
            for split in SPLITS:
                for one in group.cells[split]:
                    for task, value in one.values.items():
                        for setting in value.settings:
                            settings[setting] = settings.get(setting, 0) + 1
                        rows.append(
                            (
                                Name(one.variant.id),
                                split,
                                Name(task.task),
                                Name(f"{task.metric}, {value.filter}"),
                                cell(value.measure),
                                ", ".join(value.samples or value.results),
                            )
                        )
        head = ("variant", "split", "task", "metric, filter", "value", "file below the sweep's")
        grids.append(cut(head, rows, (*title, "every number"), folded=True))
        made: list[tuple[Cell, ...]] = [
            ("sweep", Name(survey.manifest.name), ""),
            ("base", Name(survey.manifest.base), ""),
            ("judge", Name(survey.manifest.judge), ""),
        ]
        made += _settings(survey.manifest)
        made += [
            (what, Name(value), f"{count:,} results") for (what, value), count in settings.items()
        ]
        grids.append(
            cut(("what", "value", "of"), made, (*title, "settings and versions"), folded=True)
        )
    return Section("Provenance", (), tuple(grids))


def _settings(manifest: Manifest) -> list[tuple[Cell, ...]]:
    """Return the manifest's own provenance, what is the same in all variants once."""
    variants = frozenset(one.id for one in manifest.variants)
    found: dict[str, dict[str, int]] = {}
    for what, text in _flat(manifest.provenance, (), variants):
        counts = found.setdefault(what, {})
        counts[text] = counts.get(text, 0) + 1
    rows: list[tuple[Cell, ...]] = []
    for what, counts in found.items():
        if len(counts) > DIFFERENT:
            rows.append((Name(what), f"{len(counts):,} different ones, in {MANIFEST}", ""))
            continue
        for text, count in counts.items():
            rows.append((Name(what), Name(text), f"{count:,} times" if count > 1 else ""))
    return rows


def _flat(value: Any, path: tuple[str, ...], variants: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield what a nested value says: where, and its text; without credentials."""
    if path and is_secret(path[-1]):
        yield ".".join(path), plain(value, path[-1])
    elif isinstance(value, Mapping) and len(path) < DEPTH:
        # What is kept by variant is shown without it.
        by_variant = bool(value) and variants.issuperset(value)
        for key, inner in value.items():
            yield from _flat(inner, path if by_variant else (*path, str(key)), variants)
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        for one in value:
            yield from _flat(one, path, variants)
    elif text := plain(value, path[-1] if path else ""):
        yield ".".join(path), text


def _verdict(one: Verdict) -> list[tuple[Cell, ...]]:
    name: Cell = TUNED if one.label == TUNED else Name(one.label)
    seeds = seed_words(one.seeds)
    if one.obstacle:
        return [("not compared", name, seeds, "", "", "", "", "", long(one.obstacle))]
    return [
        (
            str(found.outcome),
            name,
            seeds,
            Name(found.check.task),
            side(found.baseline),
            side(found.candidate),
            change(found),
            questions(found),
            found.reason,
        )
        for found in one.comparisons
    ]
