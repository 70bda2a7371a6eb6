"""How HumanEval is run."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from safemerge_tasks.common.settings import TaskSettings
from safemerge_tasks.humaneval.problems import package_folder
from safemerge_tasks.metrics.pass_at_k import KS
from safemerge_tasks.sandbox import ResourceLimits, SandboxSettings


class HumanEvalSettings(TaskSettings):
    """How many responses, and how they are run.

    No variable of the environment, which is easily forgotten, goes without the sandbox.
    """

    prefix: ClassVar[str] = "humaneval_"
    bare: ClassVar[Mapping[str, str]] = {"sandbox": "sandbox"}
    thing: ClassVar[str] = "a setting of humaneval_pass10"
    never_from_environment: ClassVar[frozenset[str]] = frozenset({"sandbox"})

    samples: int = Field(50, ge=max(KS), le=1000, description="responses for each problem")
    seed: int | None = Field(None, ge=0, description="give each request a seed of its own")
    timeout: float = Field(3.0, gt=0, le=600, description="seconds for each check")
    memory_mb: int = Field(1024, ge=128, description="address space of each check")
    workers: int | None = Field(None, ge=1, description="checks at a time; else one a processor")
    sandbox: Literal["namespaces", "none"] = "namespaces"

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Self:
        """Validate plain values; lm-eval reads `sandbox=none` as nothing."""
        if "sandbox" in given:
            given = {**given, "sandbox": str(given["sandbox"]).lower()}
        return super().checked(given)

    def for_sandbox(self) -> SandboxSettings:
        """Return the sandbox's settings."""
        return SandboxSettings(
            ResourceLimits(seconds=self.timeout, memory=self.memory_mb * 1024 * 1024),
            isolated=self.sandbox != "none",
            hidden=(package_folder(),),
            workers=self.workers,
        )
