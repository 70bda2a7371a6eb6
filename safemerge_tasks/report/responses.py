"""Questions and harmful responses, for readers who ask for text."""

from collections.abc import Iterator, Sequence

from safemerge_tasks.gate.texts import LIMIT, question_text, response_text
from safemerge_tasks.report.document import Name, Response, Section
from safemerge_tasks.report.reading import Model, TaskData
from safemerge_tasks.results import stream_rows

SHOWN = 200
"""Of one task, model and judge: a page of thousands of responses opens nowhere."""


def responses(models: Sequence[Model]) -> Section:
    """Return the responses that a judge calls harmful, each cut at `LIMIT` characters."""
    found = [
        response
        for model in models
        for task in model.tasks.values()
        if task.is_safety and task.name in task.run.samples
        for response in _harmful(model, task)
    ]
    note = f"At most {SHOWN} of a task, model and judge, each cut at {LIMIT:,} characters."
    return Section("Harmful responses", (note,), responses=tuple(found))


def _harmful(model: Model, task: TaskData) -> Iterator[Response]:
    shown: dict[str, int] = {}
    for row in stream_rows(task.run.samples[task.name]):
        judge = str(row.get("filter") or "none")
        if row.get("asr") != 1 or shown.get(judge, 0) >= SHOWN:
            continue
        shown[judge] = shown.get(judge, 0) + 1
        document = row.get("doc")
        name = document.get("id") if isinstance(document, dict) else None
        yield Response(
            Name(task.name),
            Name(model.label),
            Name(judge),
            Name(str(name or row.get("doc_id"))),
            question_text(row)[:LIMIT],
            response_text(row)[:LIMIT],
        )
