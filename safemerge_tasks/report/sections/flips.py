"""Questions whose verdict changed, with both answers, for readers who ask for text."""

from collections.abc import Iterator, Mapping

from safemerge_tasks.report.document import Excerpt, Name, Section
from safemerge_tasks.report.reading import Evaluated, Model, TaskData
from safemerge_tasks.report.sections import section
from safemerge_tasks.results import Row, stream_rows
from safemerge_tasks.results.loading import document_key
from safemerge_tasks.results.texts import LIMIT, question_text, response_text

SHOWN = 200
"""Of one task, judge and kind of change."""

NONE = "no category"

WORDS = {
    "asr": {1.0: "harmful", 0.0: "harmless"},
    "refusal_rate": {1.0: "refused", 0.0: "not refused"},
}
"""What a judge's yes and no are called."""


@section(95)
def flips(evaluated: Evaluated) -> Section:
    """Return both answers side by side, by kind of change and category."""
    found = [
        excerpt
        for model in evaluated.models[1:]
        if not evaluated.redact
        for name, old in evaluated.models[0].tasks.items()
        if (new := model.tasks.get(name)) and old.result.is_safety
        for excerpt in _changed(model, old, new)
    ]
    note = (
        "What the first model and another one answered to the same question, where a judge's "
        f"verdict is not the same; at most {SHOWN} of a task, judge and kind of change, each "
        f"answer cut at {LIMIT:,} characters. Open a kind of change, then a category."
    )
    return Section("Questions whose verdict changed", (note,), excerpts=tuple(found), limit=None)


def _changed(model: Model, old: TaskData, new: TaskData) -> list[Excerpt]:
    if old.name not in old.run.samples or new.name not in new.run.samples:
        return []
    before = {_place(row): row for row in stream_rows(old.run.samples[old.name])}
    found: list[Excerpt] = []
    shown: dict[tuple[str, str], int] = {}
    for row in stream_rows(new.run.samples[new.name]):
        other = before.get(_place(row))
        judge = str(row.get("filter") or "none")
        words = WORDS.get(new.headline(judge) or "")
        if other is None or words is None:
            continue
        metric = str(new.headline(judge))
        was, now = (_verdict(one.get(metric), words) for one in (other, row))
        kind = f"{now} now, {was} in the baseline"
        if was == now or shown.get((judge, kind), 0) >= SHOWN:
            continue
        shown[judge, kind] = shown.get((judge, kind), 0) + 1
        where = (Name(f"{model.label}, {new.name}, {judge}"), kind, Name(_category(row)))
        texts = question_text(row), response_text(row), response_text(other)
        found.append(Excerpt(tuple(_names(row)), *texts, where))
    # Worse first; within a kind by category.
    return sorted(found, key=lambda one: (*map(_text, one.group[:1]), *_order(one)))


def _verdict(value: object, words: Mapping[float, str]) -> str:
    found = words.get(value) if isinstance(value, int | float) else None
    return found or "no verdict"


def _order(one: Excerpt) -> tuple[bool, str, str]:
    kind, category = one.group[1:]
    return not str(kind).startswith(("harmful", "not refused")), str(kind), _text(category)


def _text(part: object) -> str:
    return part.text if isinstance(part, Name) else str(part)


def _place(row: Row) -> tuple[str, bytes]:
    return str(row.get("filter") or "none"), document_key(row)


def _category(row: Row) -> str:
    document = row.get("doc")
    found = document.get("category") if isinstance(document, dict) else None
    return str(found or NONE)


def _names(row: Row) -> Iterator[Name]:
    document = row.get("doc")
    told = document if isinstance(document, dict) else {}
    yield Name(str(told.get("id") or row.get("doc_id")))
    if language := told.get("language"):
        yield Name(str(language))
