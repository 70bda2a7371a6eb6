"""How HumanEval is run, read from lm-eval's `--metadata`."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from safemerge_tasks.common.validation import validated
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
        return validated(cls, given, thing="a setting of humaneval_pass10", spelt=_spelt)

    def for_sandbox(self) -> SandboxSettings:
        """Return the sandbox's settings."""
        return SandboxSettings(
            Limits(seconds=self.timeout, memory=self.memory_mb * 1024 * 1024),
            isolated=self.sandbox != "none",
            hidden=(package_folder(),),
            workers=self.workers,
        )


def _spelt(field: str) -> str:
    return field if field == _SANDBOX else f"{_PREFIX}{field}"
