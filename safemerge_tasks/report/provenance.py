"""Settings behind the numbers as text, without any credentials."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from safemerge_tasks.report.reading import TaskData

_SECRET = re.compile(r"key|token|secret|passw|auth|credential", re.IGNORECASE)
_PAIR = re.compile(r"([^,\s=]+)=([^,\s]+)")
_USER = re.compile(r"://[^/@\s]{1,200}@")
_COUNTED = re.compile(r"token(s|izer.*|ized)?$|(max|new|num|length).*token", re.IGNORECASE)

LIMIT = 2000


def settings_of(task: TaskData) -> Iterator[tuple[str, str]]:
    """Yield how a task was asked and judged: what, and its value; a value may be empty."""
    settings = task.result.settings
    hashes = task.summary.get("task_hashes")
    prompts = plain(hashes.get(task.name)) if isinstance(hashes, dict) else ""
    for what, value in (
        ("version", plain(settings.get("version"))),
        ("generation", plain(settings.get("generation"))),
        ("few-shot examples", plain(settings.get("few-shot examples"))),
        ("attack", plain(settings.get("attack"))),
        ("beginning of answers", plain(settings.get("beginning of answers"))),
        ("prompt hash", prompts),
    ):
        if value:
            yield f"{what} of a task", f"{task.name}: {value}"
    judges = task.ours.get("judges")
    for judge in judges if isinstance(judges, list) else ():
        if isinstance(judge, dict):
            # A detail a row, so that a long identity is not cut.
            for what, value in judge.items():
                if what != "name" and (text := plain(value, str(what))):
                    yield "judge", f"{judge.get('name')}: {what} {text}"


def plain(value: Any, key: str = "") -> str:
    """Return a setting as text; what may be a credential is left out.

    Args:
        value: anything that JSON has.
        key: what it is called, which may tell that it is a secret.
    """
    if value is None or value == "":
        return ""
    if is_secret(key):
        return "(left out)"
    if isinstance(value, Mapping):
        inner = ((str(name), plain(one, str(name))) for name, one in value.items())
        return ", ".join(f"{name}={text}" for name, text in inner if text)
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, default=str)
    # Not more than is ever shown: patterns take long on what a hostile file may hold.
    without = _PAIR.sub(_unless_counted, value[:LIMIT])
    return _USER.sub("://(left out)@", without)


def is_secret(key: str) -> bool:
    """Return whether a setting of that name may hold a credential."""
    return bool(_SECRET.search(key)) and not _COUNTED.search(key)


def _unless_counted(match: re.Match[str]) -> str:
    return f"{match[1]}=(left out)" if is_secret(match[1]) else match[0]
