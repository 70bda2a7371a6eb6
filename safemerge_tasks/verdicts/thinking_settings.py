"""How thinking is told from answers, as the user may set it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator

from safemerge_tasks.common.settings import TaskSettings
from safemerge_tasks.verdicts.thinking_formats import AUTO, OFF, SEPARATOR

_OFF = frozenset({"off", "none", "false"})


class ThinkingSettings(TaskSettings):
    """`thinking=auto` for the formats in use, `off` for responses as they are, or `START...END`."""

    prefix: ClassVar[str] = "thinking_"
    bare: ClassVar[Mapping[str, str]] = {"format": "thinking"}
    thing: ClassVar[str] = "a setting of thinking"

    format: str = Field(AUTO, description="auto, off, or START...END of a format of your own")

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Self:
        """Validate plain values; lm-eval and YAML read `none` and `off` as nothing and false."""
        return super().checked({key: str(value) for key, value in given.items()})

    @field_validator("format")
    @classmethod
    def _known(cls, text: str) -> str:
        word = text.strip().lower()
        if word in _OFF or word == AUTO:
            return OFF if word in _OFF else AUTO
        start, separator, end = text.partition(SEPARATOR)
        if not separator or not end.strip():
            raise ValueError(
                "write auto, off, or what opens and what closes thinking, as in <plan>...</plan>"
            )
        return f"{start.strip()}{SEPARATOR}{end.strip()}"
