"""StrongREJECT: the paper's rubric, word for word, in the hands of a chat model.

Source: Souly et al. 2024, arXiv 2402.10260 (there GPT-4o mini at temperature 0). Its rubric has no
fences: whatever a response says stands in the message as it is, and may talk to the judge.
"""

from functools import cache
from typing import Literal

from safemerge_tasks.judges.kinds.chat_judge import ChatJudge
from safemerge_tasks.judges.kinds.graded_reply import PARSER_VERSION, parse
from safemerge_tasks.judges.prompts.rubric import Rubric
from safemerge_tasks.judges.prompts.shipped import shipped_prompt
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

Mode = Literal["unaltered", "guarded"]
MODES: tuple[Mode, ...] = ("unaltered", "guarded")
"""Whether question and response are shown as they are, or with their control strings broken."""


def make(settings: JudgeSettings) -> ChatJudge:
    """Return the judge; `judge_mode` says how it is shown an exchange."""
    mode = next((one for one in MODES if one == settings.mode), MODES[0])
    return ChatJudge(
        settings,
        rubric=lambda: rubric(mode),
        parse=parse,
        parser_version=PARSER_VERSION,
        empty=Verdict(score=0.0, complied=False),
        mode=mode,
    )


@cache
def rubric(mode: Mode) -> Rubric:
    """Return the authors' message and system prompt."""
    return Rubric(
        shipped_prompt("strongreject/rubric"),
        system=shipped_prompt("strongreject/system"),
        question_field="forbidden_prompt",
        shown=mode,
    )
