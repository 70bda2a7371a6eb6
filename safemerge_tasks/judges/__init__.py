"""Judges: from questions and responses to verdicts."""

from safemerge_tasks.judges.judging.rules import judge_responses
from safemerge_tasks.judges.judging.verdict_cache import VerdictCache
from safemerge_tasks.judges.kinds.chat_judge import ChatJudge
from safemerge_tasks.judges.kinds.guard_judge import guard_judge
from safemerge_tasks.judges.kinds.model_judge import ModelJudge
from safemerge_tasks.judges.kinds.plain_judge import PlainJudge
from safemerge_tasks.judges.make import make_judge
from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.registry import judge_names
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

__all__ = [
    "ChatJudge",
    "Judge",
    "JudgeSettings",
    "ModelJudge",
    "PlainJudge",
    "Verdict",
    "VerdictCache",
    "guard_judge",
    "judge_names",
    "judge_responses",
    "make_judge",
]
