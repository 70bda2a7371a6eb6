"""The report that puts results beside a paper's printed numbers."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from safemerge_tasks.report.against_paper import INSIDE, NOT_COMPARABLE, Compared
from safemerge_tasks.report.document import Document, Mark, Name, Section, Table, Words
from safemerge_tasks.report.published import Paper
from safemerge_tasks.report.reading import Model
from safemerge_tasks.report.wording import with_interval

NOTE = (
    "Ours is with its 95 % interval, for a mean of tasks that of the mean. Inside: the interval "
    "holds a rate that is printed so; outside: it does not. Neither says that the models are the "
    "same."
)


def against_paper_document(
    paper: Paper, models: Mapping[str, Model], found: Sequence[Compared]
) -> Document:
    """Return the table, with a word for each number."""
    rows: list[tuple[Words, ...]] = []
    for one in found:
        model = models.get(one.number.row)
        ours = with_interval(*one.ours, rate=True) if one.ours else ""
        rows.append(
            (
                Name(paper.rows[one.number.row]),
                Name(one.benchmark.title),
                f"{one.number.value}%",
                ours,
                Mark(one.word, _tone(one.word)),
                Name(one.why),
                Name(model.label) if model else "",
            )
        )
    head = ("row", "measured on", "published", "ours", "", "why", "model")
    notes: tuple[Words, ...] = (("Published: ", Name(paper.source), "."), NOTE)
    notes += tuple((Name(one),) for one in paper.unknown)
    section = Section("", notes, (Table(head, tuple(rows)),))
    return Document(
        "Beside the published numbers", (section,), data=lambda: _data(paper, models, found)
    )


def _tone(word: str) -> Literal["good", "bad", "unsure"]:
    if word == NOT_COMPARABLE:
        return "unsure"
    return "good" if word == INSIDE else "bad"


def _data(paper: Paper, models: Mapping[str, Model], found: Sequence[Compared]) -> dict[str, Any]:
    return {
        "source": paper.source,
        "unknown": list(paper.unknown),
        "numbers": [
            {
                "row": one.number.row,
                "tasks": list(one.benchmark.tasks),
                "published": float(one.number.value) / 100,
                "ours": one.ours and dict(zip(("value", "low", "high"), one.ours, strict=True)),
                "word": one.word,
                "why": one.why,
                "model": models[one.number.row].name if one.number.row in models else None,
            }
            for one in found
        ],
    }
