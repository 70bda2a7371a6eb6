"""Llama Guard 3: safe or unsafe, with codes of the MLCommons hazards.

Weights `meta-llama/Llama-Guard-3-8B` (Llama 3.1 Community License, gated). Source: Llama Team 2024,
arXiv 2407.21783, and the model card.
"""

from safemerge_tasks.judges.kinds.llama_guard import llama_guard
from safemerge_tasks.judges.kinds.model_judge import ModelJudge
from safemerge_tasks.judges.settings import JudgeSettings

DEFAULT_MODEL = "meta-llama/Llama-Guard-3-8B"


def make(settings: JudgeSettings) -> ModelJudge:
    """Return the judge; `judge_model` may name other weights of the same format."""
    return llama_guard(settings, DEFAULT_MODEL)
