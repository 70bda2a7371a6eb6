"""Llama Guard 4: as Llama Guard 3, on a checkpoint that also reads images; here it reads text.

Weights `meta-llama/Llama-Guard-4-12B` (Llama 4 Community License, gated). Source: the model card.
"""

from safemerge_tasks.judges.kinds.llama_guard import llama_guard
from safemerge_tasks.judges.kinds.model_judge import ModelJudge
from safemerge_tasks.judges.settings import JudgeSettings

DEFAULT_MODEL = "meta-llama/Llama-Guard-4-12B"


def make(settings: JudgeSettings) -> ModelJudge:
    """Return the judge; `judge_model` may name other weights of the same format."""
    return llama_guard(settings, DEFAULT_MODEL)
