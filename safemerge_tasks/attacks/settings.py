"""Which attack, and how."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from safemerge_tasks.attacks.names import PLAIN
from safemerge_tasks.common.settings import TaskSettings


class AttackSettings(TaskSettings):
    """How questions are put; no variable of the environment, easily forgotten, names an attack."""

    prefix: ClassVar[str] = "attack_"
    bare: ClassVar[Mapping[str, str]] = {"name": "attack"}
    thing: ClassVar[str] = "a setting of an attack"
    never_from_environment: ClassVar[frozenset[str]] = frozenset({"name"})

    name: str = PLAIN
    temperature: float = Field(1.0, gt=0, le=10, description="of sampled answers")
    top_p: float = Field(1.0, gt=0, le=1, description="of sampled answers")
    seed: int | None = Field(None, ge=0, description="give each sampled answer a seed of its own")
    predict: int = Field(100, ge=2, le=10**9, description="N of the predicted ASR@N")
    tokenizer: str | None = Field(
        None, description="folder or Hub id of the tokenizer that counts tokens, for endpoints"
    )
