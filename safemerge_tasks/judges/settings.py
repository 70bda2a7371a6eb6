"""Which judge, on which engine: read from lm-eval's metadata or the environment."""

import difflib
import os
import shlex
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safemerge_tasks.errors import SafemergeError

METADATA_PREFIX = "judge_"
ENVIRONMENT_PREFIX = "SAFEMERGE_JUDGE"

EngineName = Literal["vllm", "hf", "openai"]


class JudgeSettings(BaseModel):
    """How to judge; every field is `judge_<field>` in `--metadata`, the name is `judge`."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    name: str = "wildguard"
    engine: EngineName = "vllm"
    model: str | None = Field(None, description="weights: a Hub id or a folder")
    revision: str | None = Field(None, description="Hub revision of the weights")
    prompt: str | None = Field(None, description="a file with the judge's prompt or rubric")
    url: str | None = Field(None, description="base URL of an OpenAI-compatible endpoint")
    served_model: str | None = Field(None, description="the endpoint's own name for the model")
    device: str | None = Field(None, description="torch device of the hf engine")
    dtype: str = "auto"
    batch_size: int = Field(16, ge=1, description="hf engine: exchanges per forward pass")
    concurrency: int = Field(16, ge=1, description="openai engine: requests in flight")
    retries: int = Field(5, ge=0, description="openai engine: tries after the first")
    request_timeout: float = Field(120.0, gt=0, description="openai engine: seconds a request")
    timeout: float | None = Field(None, gt=0, description="seconds for judging one task")
    max_model_len: int = Field(4096, ge=256, description="tokens of prompt and answer")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    tensor_parallel_size: int = Field(1, ge=1)

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> Self:
        """Read `judge` and `judge_*` from lm-eval's metadata, else from `SAFEMERGE_JUDGE*`.

        Raises:
            SafemergeError: an unknown key (with the nearest known one) or an impossible value.
        """
        environment = os.environ if environment is None else environment
        given: dict[str, Any] = {}
        for variable, value in environment.items():
            if variable == ENVIRONMENT_PREFIX:
                given["name"] = value
            elif variable.startswith(f"{ENVIRONMENT_PREFIX}_"):
                given[variable.removeprefix(f"{ENVIRONMENT_PREFIX}_").lower()] = value
        for key, value in metadata.items():
            if key == "judge":
                given["name"] = value
            elif key.startswith(METADATA_PREFIX):
                given[key.removeprefix(METADATA_PREFIX)] = value
        return cls.checked(given)

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Self:
        """Validate plain values; lm-eval turns `1234567` into a number, so strings are restored.

        Raises:
            SafemergeError: an unknown key or an impossible value.
        """
        for key in given:
            if key not in cls.model_fields:
                near = difflib.get_close_matches(key, cls.model_fields, n=1)
                hint = f"did you mean judge_{near[0]}?" if near else f"known: {_known(cls)}."
                raise SafemergeError(f"judge_{key} is not a setting of a judge: {hint}")
        try:
            return cls.model_validate({key: str(v) for key, v in given.items() if v is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = "judge" if first["loc"][0] == "name" else f"judge_{first['loc'][0]}"
            raise SafemergeError(f"{name}={first['input']!r}: {first['msg']}.") from error

    def as_arguments(self) -> str:
        """Return the arguments that give `safemerge judge` these settings, quoted for a shell."""
        changed = self.model_dump(exclude_defaults=True, exclude={"name"})
        words = ["--judge", self.name]
        if changed:
            pairs = ",".join(f"{METADATA_PREFIX}{key}={value}" for key, value in changed.items())
            words += ["--metadata", pairs]
        return shlex.join(words)


def _known(cls: type[JudgeSettings]) -> str:
    return ", ".join(f"judge_{key}" for key in cls.model_fields if key != "name")
