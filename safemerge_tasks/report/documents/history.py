"""The history of nightly runs, a table a task, model and judge."""

from collections.abc import Sequence
from functools import partial

from safemerge_tasks.report.document import Document, Name, Section, Table
from safemerge_tasks.report.history import Drift, Series, as_records
from safemerge_tasks.report.wording import cell


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
    rows = tuple((Name(night.date), cell(night.asr)) for night in one.nights)
    title = (Name(one.task), Name(one.judge), Name(one.model))
    table = Table(("run", "ASR, 95 % interval"), rows, title)
    return Section("", (describe(one.drift),) if one.drift else (), (table,), limit=None)
