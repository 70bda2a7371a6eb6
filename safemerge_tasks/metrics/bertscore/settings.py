"""Which encoder, at which layer: read from lm-eval's metadata or the environment."""

import os
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from safemerge_tasks.common.validation import validated

METADATA_PREFIX = "bertscore_"
ENVIRONMENT_PREFIX = "SAFEMERGE_BERTSCORE_"

PAPERS_MODEL = "microsoft/deberta-xlarge-mnli"
"""Farn et al. 2024 (arXiv 2412.19512), at layer 40; no idf, no rescaling."""


class BertScoreSettings(BaseModel):
    """How to score; every field is `bertscore_<field>` in `--metadata`."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field(PAPERS_MODEL, description="encoder: a Hub id or a folder")
    layer: int | None = Field(None, ge=1, description="else the one that bert-score recommends")
    batch_size: int = Field(64, ge=1, description="texts per forward pass")
    device: str | None = Field(None, description="torch device; else a GPU if there is one")
    cache: bool = Field(True, description="keep the references' embeddings on disk")

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> Self:
        """Read `bertscore_*` from lm-eval's metadata, else `SAFEMERGE_BERTSCORE_*`.

        Raises:
            SafemergeError: an unknown key (with the nearest known one) or an impossible value.
        """
        environment = os.environ if environment is None else environment
        given: dict[str, Any] = {
            variable.removeprefix(ENVIRONMENT_PREFIX).lower(): value
            for variable, value in environment.items()
            if variable.startswith(ENVIRONMENT_PREFIX)
        }
        given |= {
            key.removeprefix(METADATA_PREFIX): value
            for key, value in metadata.items()
            if key.startswith(METADATA_PREFIX)
        }
        return validated(
            cls,
            # lm-eval turns what looks like a number into one, so strings are restored.
            {key: str(value) for key, value in given.items()},
            thing="a setting of BERTScore",
            spelt=METADATA_PREFIX.__add__,
        )
