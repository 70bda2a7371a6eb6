"""Where each model's results are from, and how each task was asked and judged."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from safemerge_tasks.report.document import Name, Section, Table
from safemerge_tasks.report.provenance import plain, settings_of
from safemerge_tasks.report.reading import Evaluated, Model
from safemerge_tasks.report.sections import section

_OF_RUN = (
    "lm_eval_version",
    "transformers_version",
    "git_hash",
    "model_source",
    "model_revision",
    "model_dtype",
    "model_sha",
    "chat_template_sha",
    "system_instruction_sha",
)


@section(90)
def provenance(evaluated: Evaluated) -> Section:
    """Return a folded table a model."""
    tables = []
    for model in evaluated.models:
        settings = [*_of_model(model)]
        for task in model.tasks.values():
            settings += settings_of(task)
        rows = dict.fromkeys((what, Name(value)) for what, value in settings if value)
        tables.append(Table(("what", "value"), tuple(rows), (Name(model.label),), folded=True))
    return Section("Settings and provenance", (), tuple(tables), limit=None)


def _of_model(model: Model) -> Iterator[tuple[str, str]]:
    yield "model", model.name
    yield "folder", model.source.name
    for task in model.tasks.values():
        summary = task.summary
        yield "results", task.run.path.name
        yield "date", _date(summary.get("date"))
        settings = summary.get("config")
        if isinstance(settings, dict):
            for what in ("model", "model_args", "limit", "random_seed"):
                yield what, plain(settings.get(what), what)
        for what in _OF_RUN:
            yield what, plain(summary.get(what), what)


def _date(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return ""
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return ""
