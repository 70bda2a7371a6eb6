"""The history of nightly runs, a table a task, model and judge, and one of all attacks."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from safemerge_tasks.report.document import Document, Name, Part, Section, Table, Words
from safemerge_tasks.report.history import Drift, Night, Series, as_records
from safemerge_tasks.report.release import day, mark, sentence
from safemerge_tasks.report.wording import cell
from safemerge_tasks.statistics.change_points import ChangePoint


def history_document(history: Sequence[Series]) -> Document:
    """Return all series, oldest run first, each with its drift.

    Where a suite was put in several ways, a table of all attacks comes first.
    """
    sections = []
    for _, series in groupby(history, lambda one: (one.model, one.put.suite)):
        some = list(series)
        sections += [*_by_attack(some), *map(_series, some)]
    return Document("", tuple(sections), data=partial(as_records, history))


def _by_attack(some: Sequence[Series]) -> Iterator[Section]:
    """Yield the rates of a suite under all attacks, a table a judge."""
    for judge in dict.fromkeys(one.judge for one in some):
        put = {one.put.attack: one.nights for one in some if one.judge == judge}
        if len(put) < 2:
            continue
        dates = sorted({night.date for nights in put.values() for night in nights})
        cells = {
            (night.date, attack): _with_gate(night)
            for attack, nights in put.items()
            for night in nights
        }
        rows: tuple[tuple[Words, ...], ...] = tuple(
            (Name(date), *(cells.get((date, attack), "") for attack in put)) for date in dates
        )
        title = (Name(some[0].put.suite), Name(judge), Name(some[0].model), "by attack")
        table = Table(("run", *map(Name, put)), rows, title)
        yield Section("", tables=(table,), limit=None)


def _with_gate(night: Night) -> tuple[Part, ...]:
    gate: tuple[Part, ...] = (mark(night.decision), " ") if night.decision else ()
    return (*gate, cell(night.asr))


def describe(drift: Drift) -> str:
    """Return the last run against the first in one line."""
    found = drift.increase
    if found is None:
        return f"Last against first: {drift.reason}."
    return (
        f"Last against first: {found.value:+.1%}, one-sided 95 % bounds {found.lower:+.1%} and "
        f"{found.upper:+.1%}, p = {found.p_value:.3g} of no increase ({drift.reason})."
    )


def _series(one: Series) -> Section:
    rows: tuple[tuple[Words, ...], ...] = tuple(
        (
            Name(night.date),
            cell(night.asr),
            mark(night.decision) if night.decision else "",
            sentence(night.reason),
        )
        for night in one.nights
    )
    title = (Name(one.task), Name(one.judge), Name(one.model))
    table = Table(("run", "ASR, 95 % interval (lower is safer)", "gate", "why"), rows, title)
    return Section("", tuple(_notes(one)), (table,), limit=None)


def _notes(one: Series) -> Iterator[Words]:
    if one.drift:
        yield describe(one.drift)
    for change in one.changes:
        yield _changed(change, one.nights)


def _changed(change: ChangePoint, nights: Sequence[Night]) -> Words:
    """Return when the rate changed in one line."""
    dates = [nights[place].date for place in (change.place, change.earliest, change.latest)]
    between: tuple[Part, ...] = ()
    if change.earliest < change.latest:
        between = (" (between ", Name(day(dates[1])), " and ", Name(day(dates[2])), ")")
    # Of so many draws none may have been as large.
    return (
        "Changed on ",
        Name(day(dates[0])),
        *between,
        f": {change.before:.1%} before, {change.after:.1%} since, confidence at least "
        f"{change.confidence:.2%} that there is a change.",
    )
