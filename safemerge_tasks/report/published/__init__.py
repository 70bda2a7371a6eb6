"""Numbers that papers printed, as data with their source: one YAML file a paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from safemerge_tasks.common.errors import SafemergeError, one_line
from safemerge_tasks.common.validation import validated
from safemerge_tasks.common.yaml_file import read_yaml

_FOLDER = Path(__file__).parent


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Benchmark(_Frozen):
    """What a number was measured on: the plain mean over some tasks of ours."""

    title: str
    tasks: dict[str, int] = Field(min_length=1, description="task → questions in the paper")
    metric: str = "asr"
    obstacle: str = Field("", description="why no number on it can be compared")


class Number(_Frozen):
    """One printed value, in per cent."""

    row: str
    benchmark: str
    value: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$", description="as printed")]
    obstacle: str = Field("", description="why it cannot be compared")

    @property
    def range(self) -> tuple[float, float]:
        """Every rate that is printed so."""
        half = 0.5 * 10.0 ** -len(self.value.partition(".")[2])
        return (float(self.value) - half) / 100, (float(self.value) + half) / 100


class Paper(_Frozen):
    """A paper's table."""

    source: str
    judge: str = Field(description="the filter that judges as the paper does")
    judged_by: str
    unknown: tuple[str, ...] = Field((), description="what may differ without our knowing")
    rows: dict[str, str] = Field(min_length=1, description="row → what model it is")
    benchmarks: dict[str, Benchmark]
    numbers: tuple[Number, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Self:
        for number in self.numbers:
            for name, known in ((number.row, self.rows), (number.benchmark, self.benchmarks)):
                if name not in known:
                    raise ValueError(f"{name!r} is none of {', '.join(known)}; correct it")
        return self


def papers() -> list[str]:
    """Return the papers whose numbers are recorded."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_paper(name: str) -> Paper:
    """Return a recorded paper's numbers, or those of a file of one's own.

    Raises:
        SafemergeError: no such paper or file, or a file of another form.
    """
    path = _FOLDER / f"{name}.yaml" if name in papers() else Path(name)
    if not path.is_file():
        raise SafemergeError(
            f"no numbers of {name} are recorded; give {' or '.join(papers())}, or a YAML file of "
            "the same form with its source (docs/measuring.md)."
        )
    try:
        content = read_yaml(path)
    except (OSError, yaml.YAMLError) as error:
        raise SafemergeError(f"{path} is not YAML ({one_line(error)}); correct it.") from error
    if not isinstance(content, Mapping):
        raise SafemergeError(f"{path} has no keys; see {papers()[0]} for the form.")
    return validated(Paper, content, thing="a key of published numbers", where=str(path))
