"""Judges: from questions and responses to verdicts."""

from safemerge_tasks.judges.base import Judge, judge_names, make_judge
from safemerge_tasks.judges.judging import judge_responses
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.judges.verdict import Verdict
from safemerge_tasks.judges.verdict_cache import VerdictCache

__all__ = [
    "Judge",
    "JudgeSettings",
    "Verdict",
    "VerdictCache",
    "judge_names",
    "judge_responses",
    "make_judge",
]
