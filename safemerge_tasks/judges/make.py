"""From settings to the judge that they name."""

from collections.abc import Iterator
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.names import AUTO
from safemerge_tasks.judges.own.loading import OwnJudge, load_module
from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.registry import judge_module
from safemerge_tasks.judges.settings import JudgeSettings

_PROTOCOL = (
    *("name", "empty", "languages", "uses_accelerator", "deferred", "members"),
    *("check", "open", "judge", "identity", "cache_key", "close"),
)


def make_judge(settings: JudgeSettings) -> Judge:
    """Return the judge that `settings` name; nothing is loaded yet.

    Raises:
        SafemergeError: there is no such judge, or it is not what a judge has to be.
    """
    if len(settings.asked_for) > 1:
        raise SafemergeError(
            f"judge={settings.name} names several judges, and only one can be used here; for their "
            f"vote write majority({settings.name})."
        )
    if settings.name == AUTO:
        raise SafemergeError(
            "judge=auto chooses between wildguard and qwen3guard by a task's languages, so it is "
            "no judge for this; name one."
        )
    file = settings.file
    module = load_module(file) if file else judge_module(settings.name.partition("(")[0])
    if settings.prompt and not (settings.is_panel or getattr(module, "READS_PROMPT", False)):
        raise SafemergeError(
            f"judge={settings.name} has a prompt of its own, which judge_prompt cannot replace; "
            "leave that out, or for one judge of several write judge_prompt.NAME=FILE."
        )
    modes: tuple[str, ...] = getattr(module, "MODES", ())
    if settings.mode is not None and not settings.is_panel and settings.mode not in modes:
        wanted = (
            f"choose from {', '.join(modes)}"
            if modes
            else "it has none, leave that out, or for one judge of several write judge_mode.NAME"
        )
        raise SafemergeError(
            f"judge_mode={settings.mode} is no mode of judge={settings.name}; {wanted}."
        )
    judge: Judge = getattr(module, file.function if file else "make")(settings)
    if lacking := list(_lacking(judge)):
        raise SafemergeError(
            f"judge={settings.name} made a {type(judge).__name__} without {', '.join(lacking)}, "
            "which a judge has; subclass PlainJudge of safemerge_tasks.judges."
        )
    return OwnJudge(file, module, judge) if file else judge


def _lacking(judge: Any) -> Iterator[str]:
    return (name for name in _PROTOCOL if not hasattr(judge, name))
