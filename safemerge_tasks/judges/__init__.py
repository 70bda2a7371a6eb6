"""Judges: from questions and responses to verdicts."""

from safemerge_tasks.judges.base import Judge, judge_names, make_judge
from safemerge_tasks.judges.judging import judge_responses
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.judges.verdict_cache import VerdictCache
from safemerge_tasks.verdicts.verdict import Verdict

__all__ = [
    "Judge",
    "JudgeSettings",
    "Verdict",
    "VerdictCache",
    "judge_names",
    "judge_responses",
    "make_judge",
]
