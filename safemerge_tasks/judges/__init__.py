"""Judges: from questions and responses to verdicts."""

from safemerge_tasks.judges.judging.rules import judge_responses
from safemerge_tasks.judges.judging.verdict_cache import VerdictCache
from safemerge_tasks.judges.make import make_judge
from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.registry import judge_names
from safemerge_tasks.judges.settings import JudgeSettings
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
