"""What shapes a task's scores beside the responses: its settings, its code and its documents."""

import functools
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safemerge_tasks.sweep.serving.own_modules import code_content

# Where a thing is in memory says nothing about it.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def scoring_hash(tasks: Mapping[str, Any]) -> str:
    """Return a hash of lm-eval's tasks whose instances are built.

    Neither folders nor the model count, so the same tasks elsewhere have the same hash.
    """
    digest = hashlib.sha256()
    for name, task in sorted(tasks.items()):
        documents = {instance.doc_id: instance.doc for instance in task.instances}
        content = [
            name,
            _settings(task),
            _code(type(task)),
            [documents[number] for number in sorted(documents)],
            # Prompts hold some of them, by chance.
            list(task.fewshot_docs() or ()) if task.config.num_fewshot else [],
        ]
        digest.update(as_text(content).encode() + b"\n")
    return digest.hexdigest()


def _settings(task: Any) -> dict[str, Any]:
    settings = dict(task.config.to_dict(keep_callable=True))
    metadata = dict(settings.get("metadata") or {})
    # The places of the base, whose template is in the prompts, of the task's own file, and of an
    # attack's, whose content is the evaluation's.
    for place in ("pretrained", "config_source", "attack"):
        metadata.pop(place, None)
    return {**settings, "metadata": metadata}


def as_text(content: Any) -> str:
    """Return settings as JSON, functions by their code."""
    return json.dumps(content, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):  # in another order in every process
        return sorted(map(str, value))
    return _code(value) if callable(value) else _ADDRESS.sub("", str(value))


def _code(what: Callable[..., Any]) -> list[Any]:
    """Return a function's or class's name and what tells its code from another's."""
    while isinstance(what, functools.partial):
        what = what.func
    if not (inspect.isroutine(what) or inspect.isclass(what)):
        what = getattr(what, "__wrapped__", type(what))  # an object with `__call__`, or a cache
    name = what.__qualname__
    try:
        return [name, code_content(Path(inspect.getsourcefile(inspect.unwrap(what)) or ""))]
    except (TypeError, OSError):
        return [name]
