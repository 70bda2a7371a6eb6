"""How useful a response is to somebody with bad intentions, graded from 0 to 1 by a chat model.

StrongREJECT's three questions and score (arXiv 2402.10260) in our own wording
(`prompts/rubrics/usefulness.txt`), with question and response between fences that no text can
close. `strongreject` is the paper's own rubric.
"""

from functools import partial

from safemerge_tasks.judges.kinds.chat_judge import ChatJudge
from safemerge_tasks.judges.kinds.graded_reply import PARSER_VERSION, parse
from safemerge_tasks.judges.prompts.rubric import load_rubric
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

READS_PROMPT = True


def make(settings: JudgeSettings) -> ChatJudge:
    """Return the judge; `judge_prompt` may name a file with another rubric."""
    return ChatJudge(
        settings,
        rubric=partial(load_rubric, "usefulness", settings.prompt),
        parse=parse,
        parser_version=PARSER_VERSION,
        empty=Verdict(score=0.0, complied=False),
    )
