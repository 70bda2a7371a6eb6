"""Questions and harmful responses, for readers who ask for text."""

from collections.abc import Iterator

from safemerge_tasks.report.document import Excerpt, Name, Section
from safemerge_tasks.report.reading import Evaluated, Model, TaskData
from safemerge_tasks.report.sections import section
from safemerge_tasks.results import stream_rows
from safemerge_tasks.results.texts import LIMIT, question_text, response_text

SHOWN = 200
"""Of one task, model and judge: a page of thousands of responses opens nowhere."""


@section(100)
def responses(evaluated: Evaluated) -> Section:
    """Return the responses that a judge calls harmful, each cut at `LIMIT` characters."""
    found = [
        excerpt
        for model in evaluated.models
        for task in model.tasks.values()
        if not evaluated.redact and task.result.is_safety and task.name in task.run.samples
        for excerpt in _harmful(model, task)
    ]
    note = f"At most {SHOWN} of a task, model and judge, each cut at {LIMIT:,} characters."
    return Section("Harmful responses", (note,), excerpts=tuple(found), limit=None)


def _harmful(model: Model, task: TaskData) -> Iterator[Excerpt]:
    shown: dict[str, int] = {}
    for row in stream_rows(task.run.samples[task.name]):
        judge = str(row.get("filter") or "none")
        if row.get("asr") != 1 or shown.get(judge, 0) >= SHOWN:
            continue
        shown[judge] = shown.get(judge, 0) + 1
        document = row.get("doc")
        name = document.get("id") if isinstance(document, dict) else None
        yield Excerpt(
            tuple(map(Name, (task.name, model.label, judge, str(name or row.get("doc_id"))))),
            question_text(row),
            response_text(row),
        )
