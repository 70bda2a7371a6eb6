"""Where each model's results are from, and how each task was asked and judged."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from safemerge_tasks.report.document import Name, Section, Table, Words
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


_HASH = re.compile(r"[0-9a-f]{20,}")
_SHORT = 12
"""Characters of a hash that tell it from another."""


@section(90)
def provenance(evaluated: Evaluated) -> Section:
    """Return what differs between the models, and folded tables of all settings."""
    settings = {model.label: _settings(model) for model in evaluated.models}
    tables = [_differing(settings)] if len(settings) > 1 else []
    for label, found in settings.items():
        rows = tuple((what, Name(value)) for what, values in found.items() for value in values)
        tables.append(Table(("what", "value"), rows, (Name(label), "all settings"), folded=True))
    notes = ("What is not listed as different is the same in all models.",)
    return Section("Settings and provenance", notes[: len(settings) - 1], tuple(tables), limit=None)


def _settings(model: Model) -> dict[str, list[str]]:
    """Return what → its values, each once."""
    found: dict[str, list[str]] = {}
    settings = [*_of_model(model)]
    for task in model.tasks.values():
        settings += settings_of(task)
    for what, value in dict.fromkeys(settings):
        if value:
            found.setdefault(what, []).append(value)
    return found


def _differing(settings: Mapping[str, Mapping[str, list[str]]]) -> Table:
    whats = dict.fromkeys(what for found in settings.values() for what in found)
    rows: list[tuple[Words, ...]] = []
    for what in whats:
        values = [found.get(what, []) for found in settings.values()]
        common = set(values[0]).intersection(*values[1:])
        own = [[value for value in some if value not in common] for some in values]
        if any(own):
            rows.append((what, *(Name(_shortened("; ".join(some)) or "the same") for some in own)))
    return Table(("what differs", *map(Name, settings)), tuple(rows))


def _shortened(text: str) -> str:
    return _HASH.sub(lambda found: f"{found[0][:_SHORT]}…", text)


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
