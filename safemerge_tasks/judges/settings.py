"""Which judge, on which engine."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.settings import TaskSettings
from safemerge_tasks.common.validation import unknown_key, validated
from safemerge_tasks.judges.names import AUTO, JudgeFile, read_names, row_name, side_by_side, spelt
from safemerge_tasks.judges.registry import judge_names

EngineName = Literal["vllm", "hf", "openai"]


class JudgeSettings(TaskSettings):
    """How to judge; `judge_<field>.<judge>` is for one judge alone, where several work together."""

    prefix: ClassVar[str] = "judge_"
    bare: ClassVar[Mapping[str, str]] = {"name": "judge"}
    thing: ClassVar[str] = "a setting of a judge"

    name: str = "wildguard"
    engine: EngineName = "vllm"
    model: str | None = Field(None, description="weights: a Hub id or a folder")
    revision: str | None = Field(None, description="Hub revision of the weights")
    prompt: str | None = Field(None, description="a file with the judge's prompt or rubric")
    mode: str | None = Field(None, description="how strict, where a judge has modes")
    url: str | None = Field(None, description="base URL of an OpenAI-compatible endpoint")
    served_model: str | None = Field(None, description="the endpoint's own name for the model")
    api_key_env: str | None = Field(
        None, description="environment variable with the endpoint's key"
    )
    max_new_tokens: int = Field(4096, ge=16, description="chat models: tokens of a reply")
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
    calibration: str | None = Field(None, description="file of `safemerge judge calibrate`")
    cache: bool = Field(True, description="keep verdicts, and reuse those of equal exchanges")
    files: tuple[JudgeFile, ...] = Field((), description="judges of the user's own in `name`")
    own: tuple[tuple[str, str, str], ...] = Field(
        (), description="(judge, field, value) of settings meant for one judge alone"
    )

    @model_validator(mode="before")
    @classmethod
    def _names_and_files(cls, given: Any) -> Any:
        """Take paths of the user's own judges out of the name."""
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            return given
        name, files = read_names(given["name"])
        known = {file.name: file for file in (*files, *given.get("files", ()))}
        return {**given, "name": name, "files": tuple(known.values())}

    def api_key(self) -> str | None:
        """Return the key for `url`; None where there is none to send.

        Unasked, `OPENAI_API_KEY` goes to OpenAI and to `OPENAI_BASE_URL` alone: another endpoint,
        or whoever listens on the way to it, has no business with it.

        Raises:
            SafemergeError: `api_key_env` names a variable that is not set.
        """
        if self.api_key_env is not None:
            key = os.environ.get(self.api_key_env)
            if not key:
                raise SafemergeError(
                    f"judge_api_key_env={self.api_key_env} is not set in the environment; set it "
                    "to the endpoint's key, or name the variable that holds it."
                )
            return key
        theirs = {_origin("https://api.openai.com"), _origin(os.environ.get("OPENAI_BASE_URL"))}
        return os.environ.get("OPENAI_API_KEY") if _origin(self.url) in theirs - {None} else None

    @property
    def is_panel(self) -> bool:
        """Whether the name spells out several judges."""
        return "(" in self.name

    @property
    def asked_for(self) -> list[str]:
        """The judges that each give results of their own; one unless the name joins several."""
        return side_by_side(self.name)

    @property
    def file(self) -> JudgeFile | None:
        """The file that the judge is, if it is one of the user's own."""
        return next((file for file in self.files if file.name == self.name), None)

    def each(self) -> list[Self]:
        """Return the settings of every judge that is asked for.

        Raises:
            SafemergeError: none is, or one twice, or one of its own settings is impossible.
        """
        names = self.asked_for
        if not names or len(set(names)) < len(names):
            raise SafemergeError(
                f"judge={self.name} names {'one twice' if names else 'no judge'}; name each judge "
                "once, as in wildguard+qwen3guard."
            )
        return [self] if len(names) == 1 else [self.for_judge(name) for name in names]

    def for_judge(self, name: str) -> Self:
        """Return the settings of one judge: the shared ones, and over them its own.

        Raises:
            SafemergeError: one of its own has an impossible value.
        """
        shared = self.model_dump(exclude={"name", "own", "files"}, exclude_none=True)
        if "(" in name or name == AUTO:  # whoever judges for it still needs theirs
            own = {f"{field}.{judge}": value for judge, field, value in self.own}
        else:
            own = {field: value for judge, field, value in self.own if judge == name}
        return self._checked({**shared, **own, "name": name}, self.files)

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> Self:
        """Read the settings, those of one judge alone where the name is one judge's."""
        settings = super().from_metadata(metadata, environment)
        several = settings.is_panel or len(settings.asked_for) > 1 or settings.name == AUTO
        return settings if several else settings.for_judge(settings.name)

    @classmethod
    def _take_own(cls, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[str]]]:
        """Divide `field.judge` from the settings for all judges."""
        shared: dict[str, Any] = {}
        own = []
        for key, value in given.items():
            field, dot, judge = key.partition(".")
            if not dot:
                shared[key] = value
            elif value is not None:
                own.append([row_name(judge), field, str(value)])
        return shared, own

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Self:
        """Validate plain values; lm-eval turns `1234567` into a number, so strings are restored.

        Raises:
            SafemergeError: an unknown key or an impossible value.
        """
        return cls._checked(given, ())

    @classmethod
    def _checked(cls, given: Mapping[str, Any], files: Sequence[JudgeFile]) -> Self:
        given, own = cls._take_own(given)
        known = [field for field in cls.model_fields if field not in ("own", "files")]
        for key in [*given, *(field for _, field, _ in own)]:
            if key not in known:
                raise SafemergeError(str(unknown_key(key, known, cls.thing, cls.key_of)))
        values = {key: str(value) for key, value in given.items() if value is not None}
        found = validated(
            cls, {**values, "own": own, "files": files}, thing=cls.thing, spelt=cls.key_of
        )
        _refuse_strangers((judge for judge, _, _ in own), found.files)
        return found

    def as_arguments(self) -> str:
        """Return the arguments that give `safemerge judge` these settings, quoted for a shell."""
        changed = self.model_dump(exclude_defaults=True, exclude={"name", "own", "files"})
        changed |= {f"{field}.{judge}": value for judge, field, value in self.own}
        words = ["--judge", spelt(self.name, self.files)]
        if changed:
            pairs = ",".join(f"{self.prefix}{key}={value}" for key, value in changed.items())
            words += ["--metadata", pairs]
        return shlex.join(words)


def _origin(url: str | None) -> tuple[str, str] | None:
    """Return scheme and host with port of a URL."""
    if not url:
        return None
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()


def _refuse_strangers(judges: Iterable[str], files: Sequence[JudgeFile]) -> None:
    """Refuse settings for a judge that does not exist: they would have no effect."""
    known = [*judge_names(), *(file.name for file in files)]
    for judge in judges:
        if judge not in known:
            raise SafemergeError(
                f"judge_….{judge} is meant for a judge that does not exist; the judges are "
                f"{', '.join(known)}."
            )
