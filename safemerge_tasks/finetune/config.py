"""What a fine-tuning is made from, validated: from a YAML file or from Python."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import nearest, validated
from safemerge_tasks.common.yaml_file import read_yaml
from safemerge_tasks.finetune.presets import preset

SHORT_NAMES = ("chatdoctor", "openfunctions", "magicoder", "flan_cot")
"""Data sets whose rest, after its validation share, is trained on."""

EXTENSIONS = (".jsonl", ".json", ".csv", ".parquet")
"""Of files with rows of one's own; others are read as JSON."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

BY_SEED = "by-seed"


class TaskData(BaseModel):
    """The rows of a task's source that the task itself holds out none of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str = Field(description="an lm-eval task of ours that holds out a share of its source")
    include_path: Path | None = Field(None, description="the folder of your own suites")


class FileData(BaseModel):
    """One's own rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="JSON lines, a JSON array, CSV or Parquet")


class HubData(BaseModel):
    """One's own rows, or anybody's, in a data set on the Hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub: str = Field(description="its id, as in tatsu-lab/alpaca")
    config: str | None = Field(None, description="its configuration")
    split: str = "train"
    revision: str | None = Field(None, description="pinned")


class Lora(BaseModel):
    """The adapter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(8, ge=1)
    alpha: float = Field(16, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="all linear layers but the output's, or the ends of their names"
    )


class FinetuneConfig(BaseModel):
    """One fine-tuning for each seed; the defaults are those of Farn et al. 2024."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(min_length=1, description="the aligned model: a folder or a Hub id")
    revision: str | None = Field(None, description="of the base on the Hub")
    trust_remote_code: bool = False
    data: TaskData | FileData | HubData
    system_prompt: str | None = Field(None, description="for one's own rows that have none")
    preset: str | None = None
    tuning: Literal["lora", "full"] = "lora"
    lora: Lora = Lora()
    learning_rate: float = Field(1e-4, gt=0)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    batch_size: int = Field(8, ge=1, description="of all processes together")
    micro_batch_size: int | None = Field(
        None, ge=1, description="the most rows that a process computes at once"
    )
    cutoff_length: int = Field(1024, ge=2, description="tokens of prompt and response together")
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="auto is bfloat16 on a GPU or CPU that computes in it, else float32"
    )
    epochs: int = Field(3, ge=1)
    checkpoint_step: int | None = Field(
        None, ge=1, description="stop here, without changing the schedule of all epochs"
    )
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = Field((42,), min_length=1)
    split_seed: int | Literal["by-seed"] = Field(
        42, description="divides training from validation rows; by-seed: the training's own"
    )
    validation_share: float | None = Field(
        None, ge=0, lt=1, description="of one's own rows; 0.1 unless given, 0 for none"
    )
    save_every: int = Field(100, ge=1, description="steps between places to resume from")
    gradient_checkpointing: bool | Literal["auto"] = Field(
        "auto",
        description="saves memory, costs a fifth of speed; auto: where memory does not suffice",
    )
    device: Literal["auto", "cpu"] = "auto"
    threads: int | None = Field(None, ge=1, description="of a CPU")

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        given = {**given, "data": _data(given.get("data"))}
        if given.get("preset") is None:
            return given
        values = preset(given["preset"], given["data"])
        if isinstance(given.get("lora"), Mapping):
            given["lora"] = {**values["lora"], **given["lora"]}
        return {**values, **given}

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("`seeds` has one of them twice; remove one")
        if isinstance(self.data, TaskData):
            if self.validation_share is not None:
                raise ValueError("`validation_share` is the task's own: remove it, or use a file")
            if self.system_prompt is not None:
                raise ValueError("`system_prompt` is the task's own: remove it, or use a file")
        return self

    @classmethod
    def checked(cls, given: Any, where: str) -> Self:
        """Validate a configuration's keys.

        Args:
            given: the keys.
            where: begins the error sentence.

        Raises:
            SafemergeError: an unknown key (with the nearest known one) or an impossible value.
        """
        if not isinstance(given, Mapping):
            raise SafemergeError(f"{where} has no keys; it needs at least `base` and `data`.")
        return validated(cls, dict(given), thing="a key of a fine-tuning", where=where)

    def split_seed_of(self, seed: int) -> int:
        """Return what divides training from validation rows in the fine-tuning of `seed`."""
        return seed if self.split_seed == BY_SEED else int(self.split_seed)


def load_config(path: Path) -> FinetuneConfig:
    """Read a YAML file; its data file may lie beside it.

    Raises:
        SafemergeError: no such file, not YAML, an unknown key or an impossible value.
    """
    content = read_yaml(path)
    config = FinetuneConfig.checked(content, where=str(path))
    if isinstance(config.data, FileData):
        beside = path.parent / config.data.file
        if not Path(config.data.file).is_file() and beside.is_file():
            return config.model_copy(update={"data": FileData(file=str(beside))})
    return config


def _data(given: Any) -> Any:
    """Return the long form of what may be written short: a data set's name or a file's."""
    if not isinstance(given, str):
        if isinstance(given, Mapping) and given.get("task") in SHORT_NAMES:
            return {**given, "task": f"{given['task']}_bertscore_val"}
        return given
    if given in SHORT_NAMES:
        return {"task": f"{given}_bertscore_val"}
    path = Path(given)
    if ":" in given or path.suffix.lower() in EXTENSIONS or path.is_file():
        return {"file": given}
    if _HUB_ID.fullmatch(given):
        return {"hub": given}
    if path.suffix:
        return {"file": given}
    near = nearest(given, SHORT_NAMES)
    hint = "." if near is None else f"; did you mean {near}?"
    raise SafemergeError(
        f"data {given!r} is neither one of {', '.join(SHORT_NAMES)}, nor a file of rows, nor a "
        f"data set's id on the Hub{hint}"
    )
