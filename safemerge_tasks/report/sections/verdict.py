"""Ship or not: every model against the first one, before anything else."""

from collections.abc import Iterator
from dataclasses import replace

from safemerge_tasks.gate.groups import group_changes
from safemerge_tasks.report.document import Mark, Name, Part, Section, Table, Words
from safemerge_tasks.report.reading import Evaluated, Release
from safemerge_tasks.report.release import (
    also_changed,
    filled,
    got_worse,
    grade_note,
    grade_of,
    headline,
    overview,
    reasons,
    sentence,
    who,
)
from safemerge_tasks.report.sections import section


@section(5)
def verdict(evaluated: Evaluated) -> Section:
    """Return the first screen; nothing for one model, which has nothing to be compared with."""
    releases = evaluated.releases
    baseline = evaluated.models[0].label if evaluated.models else ""
    one = len(releases) == 1
    notes: list[Words] = []
    for release in releases if one else ():
        if release.result:
            notes += [*reasons(release.result, but_passed=True), *grade_note(release.result)]
    tables = [] if one and releases[0].result else [_all(evaluated, baseline)]
    for release in releases:
        if found := release.result:
            name: tuple[Part, ...] = () if one else (Name(release.candidate.label),)
            own = (
                who(found, baseline, release.candidate.label, name),
                overview(found, (*name, "candidate against baseline")),
                got_worse(group_changes(found), name),
                also_changed(found, name),
            )
            # Of several only the one table that has all of them is open.
            tables += own if one else [replace(table, folded=True) for table in own]
    notes += [("Decided by ", evaluated.policy, ".")]
    return Section("Against the baseline", tuple(notes), filled(tables))


def conclusion(releases: tuple[Release, ...]) -> Mark | None:
    """Return what all of them come to; None where nothing was compared with anything."""
    marks = [_outcome(one) for one in releases]
    if len(marks) < 2:
        return marks[0] if marks else None
    tones = [one.tone for one in marks]
    worst = max(tones, key=("good", "unsure", "bad").index)
    return Mark(f"{tones.count('good')} of {len(marks)} candidates passed", worst)


def _outcome(release: Release) -> Mark:
    if release.result is None:
        return Mark("NOT COMPARED: these results cannot be compared", "unsure")
    return headline(release.result)


def _all(evaluated: Evaluated, baseline: str) -> Table:
    rows: tuple[tuple[Words, ...], ...] = tuple(
        (
            _outcome(one),
            Name(one.candidate.label),
            grade_of(one.result) if one.result else "",
            tuple(_why(one)),
        )
        for one in evaluated.releases
    )
    return Table(("", "candidate", "grade", "why"), rows, ("against", Name(baseline)))


def _why(release: Release) -> Iterator[Part]:
    if release.result is None:
        yield sentence(release.reason)
        return
    for place, words in enumerate(reasons(release.result, but_passed=True)):
        if place:
            yield " "
        yield from words if isinstance(words, tuple) else (words,)
