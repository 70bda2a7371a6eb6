"""The history of nightly runs, a table a task, model and judge."""

from collections.abc import Iterator, Sequence
from functools import partial

from safemerge_tasks.report.document import Document, Name, Part, Section, Table, Words
from safemerge_tasks.report.history import Drift, Night, Series, as_records
from safemerge_tasks.report.release import day, mark, sentence
from safemerge_tasks.report.wording import cell
from safemerge_tasks.statistics.change_points import ChangePoint


def history_document(history: Sequence[Series]) -> Document:
    """Return all series, oldest run first, each with its drift."""
    return Document("", tuple(map(_series, history)), data=partial(as_records, history))


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
