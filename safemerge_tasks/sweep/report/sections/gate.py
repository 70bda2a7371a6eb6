"""The gate's decisions on the models, against the base."""

from collections.abc import Iterator

from safemerge_tasks.gate.policy import MARGIN
from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.release import mark
from safemerge_tasks.report.wording import change, questions, side
from safemerge_tasks.sweep.report.findings import TUNED, Sweeps
from safemerge_tasks.sweep.report.gating import GatedCandidate
from safemerge_tasks.sweep.report.numbers import long, seed_words
from safemerge_tasks.sweep.report.sections import section


@section(60)
def gate(sweeps: Sweeps) -> Section:
    """Return a table a fine-tuning, and on demand one of each seed by itself."""
    tables = []
    head = ("outcome", "model", "seeds", "task", "base", "model's", "change", "questions", "why")
    for findings, tuning in sweeps.tunings():
        title = sweeps.title(findings, tuning)
        found = [one for one in findings.gated if one.tuning == tuning.name]
        for pooled, more in ((True, ()), (False, ("each seed by itself",))):
            rows = tuple(row for one in found if one.pooled is pooled for row in _rows(one))
            tables.append(Table(head, rows, (*title, *more), folded=not pooled))
    notes = (
        "As `safemerge check` decides on test data: an increase of the rate of harm over the "
        f"base's by up to {MARGIN:.0%} passes if its one-sided 95 % upper bound is within that; "
        "else it is a regression if it is surely more than none; else the questions cannot tell. "
        "What has no verdict counts against the model, and for it where a regression is concerned.",
        "The seeds of a row are judged together, the answers to one question as one cluster, "
        "because the base answered it once. The change has one-sided bounds.",
    )
    return Section("Gate against the base", notes, tuple(tables))


def _rows(one: GatedCandidate) -> Iterator[tuple[Words, ...]]:
    name = TUNED if one.label == TUNED else Name(one.label)
    seeds = seed_words(one.seeds)
    if one.obstacle:
        yield ("not compared", name, seeds, "", "", "", "", "", long(one.obstacle))
    for found in one.comparisons:
        yield (
            mark(found.decision),
            name,
            seeds,
            Name(found.check.task),
            side(found.baseline),
            side(found.candidate),
            change(found),
            questions(found),
            found.reason,
        )
