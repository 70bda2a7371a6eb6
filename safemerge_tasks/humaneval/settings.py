"""How HumanEval is run, read from lm-eval's `--metadata`."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.humaneval.problems import package_folder
from safemerge_tasks.metrics.pass_at_k import KS
from safemerge_tasks.sandbox import Limits, SandboxSettings

_PREFIX = "humaneval_"
_SANDBOX = "sandbox"


class HumanEvalSettings(BaseModel):
    """Every field is `humaneval_<field>` in `--metadata`, but for `sandbox`, which is itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int = Field(50, ge=max(KS), le=1000, description="responses for each problem")
    seed: int | None = Field(None, ge=0, description="give each request a seed of its own")
    timeout: float = Field(3.0, gt=0, le=600, description="seconds for each check")
    memory_mb: int = Field(1024, ge=128, description="address space of each check")
    workers: int | None = Field(None, ge=1, description="checks at a time; else one a processor")
    sandbox: Literal["namespaces", "none"] = "namespaces"

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Self:
        """Read the settings from lm-eval's metadata.

        Raises:
            SafemergeError: an unknown key (with the nearest known one) or an impossible value.
        """
        given: dict[str, str] = {}
        for key, value in metadata.items():
            if key == _SANDBOX:
                given[_SANDBOX] = str(value).lower()
            elif key.startswith(_PREFIX):
                given[key.removeprefix(_PREFIX)] = str(value)
        names = [name for name in cls.model_fields if name != _SANDBOX]
        for name in given:
            if name not in cls.model_fields:
                near = difflib.get_close_matches(name, names, n=1) or names
                raise SafemergeError(
                    f"{_PREFIX}{name} is not a setting of humaneval_pass10; known: "
                    f"{', '.join(_PREFIX + other for other in near)}, {_SANDBOX}."
                )
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            key = name if name == _SANDBOX else f"{_PREFIX}{name}"
            raise SafemergeError(f"{key}={first['input']!r}: {first['msg']}.") from error

    def for_sandbox(self) -> SandboxSettings:
        """Return the sandbox's settings."""
        return SandboxSettings(
            Limits(seconds=self.timeout, memory=self.memory_mb * 1024 * 1024),
            isolated=self.sandbox != "none",
            hidden=(package_folder(),),
            workers=self.workers,
        )
