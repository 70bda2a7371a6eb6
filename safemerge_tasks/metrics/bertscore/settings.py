"""Which encoder, at which layer."""

from typing import ClassVar

from pydantic import Field

from safemerge_tasks.common.settings import TaskSettings

PAPERS_MODEL = "microsoft/deberta-xlarge-mnli"
"""Farn et al. 2024 (arXiv 2412.19512), at layer 40; no idf, no rescaling."""


class BertScoreSettings(TaskSettings):
    """How to score."""

    prefix: ClassVar[str] = "bertscore_"
    thing: ClassVar[str] = "a setting of BERTScore"

    model: str = Field(PAPERS_MODEL, description="encoder: a Hub id or a folder")
    layer: int | None = Field(None, ge=1, description="else the one that bert-score recommends")
    batch_size: int = Field(64, ge=1, description="texts per forward pass")
    device: str | None = Field(None, description="torch device; else a GPU if there is one")
    cache: bool = Field(True, description="keep the references' embeddings on disk")
