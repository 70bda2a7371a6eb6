"""From settings to the judge that they name."""

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.registry import judge_module
from safemerge_tasks.judges.settings import JudgeSettings


def make_judge(settings: JudgeSettings) -> Judge:
    """Return the judge that `settings` name; nothing is loaded yet.

    Raises:
        SafemergeError: there is no such judge.
    """
    module = judge_module(settings.name.partition("(")[0])
    if settings.prompt and not (settings.is_panel or getattr(module, "READS_PROMPT", False)):
        raise SafemergeError(
            f"judge={settings.name} has a prompt of its own, which judge_prompt cannot replace; "
            "leave that out, or for one judge of several write judge_prompt.NAME=FILE."
        )
    modes: tuple[str, ...] = getattr(module, "MODES", ())
    if settings.mode is not None and not settings.is_panel and settings.mode not in modes:
        wanted = f"choose from {', '.join(modes)}" if modes else "it has none, leave that out"
        raise SafemergeError(
            f"judge_mode={settings.mode} is no mode of judge={settings.name}; {wanted}."
        )
    judge: Judge = module.make(settings)
    return judge
