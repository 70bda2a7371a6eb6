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
    judge: Judge = module.make(settings)
    return judge
