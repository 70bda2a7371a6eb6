"""`sweep.json`: what a sweep evaluated, where the results are, and by what rule to choose.

It lies in the sweep's output folder; results are lm-eval's own files in folders relative to it.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from merge.recipe.layer_groups import DIVISIONS
from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import mistakes

MANIFEST = "sweep.json"

Split = Literal["validation", "test"]

SPLITS: tuple[Split, Split] = ("validation", "test")

TestPoints = Literal["all", "chosen"]

_NUMBER = re.compile(r"^(?!.*\bbool\b).*\b(int|float)\b")
"""Of an annotation: numbers, and no true or false."""


class Frozen(BaseModel):
    """Has the fields that it has, and keeps them."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, given: Any, field: ValidationInfo) -> Any:
        kind = str(cls.model_fields[str(field.field_name)].annotation)
        held = list(given) if isinstance(given, list | tuple | dict) else [given]
        if any(isinstance(one, bool) for one in held) and _NUMBER.search(kind):
            raise ValueError("true and false are no numbers; write the number")
        return given


class Measured(Frozen):
    """A task and the metric that stands for it."""

    task: str
    metric: str


class Tasks(Frozen):
    """The tasks of one split."""

    safety: tuple[Measured, ...] = ()
    utility: tuple[Measured, ...] = ()


class Rule(Frozen):
    """How λ, or another grid point, is chosen on validation data."""

    rule: Literal["best-utility", "knee"] = Field(
        "best-utility",
        description="best utility whose ASR is surely below `max_asr`, or the Pareto front's knee",
    )
    max_asr: float = Field(
        0.05, gt=0, le=1, description="for best-utility: limit of the ASR's upper bound"
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="that the limit holds for what is chosen of a method"
    )
    search: Literal["auto", "bisect", "in-order"] | None = Field(
        None,
        description="ask some points only: bisect where harm grows with λ, in-order where it need "
        "not, auto by the method; else the whole grid",
    )

    groups: tuple[str, ...] = Field(
        (),
        description="with a search, then λ by groups of layers: [early, late], [early, middle, "
        "late] or [attention, mlp]; taken if its utility is better with confidence",
    )

    @field_validator("groups")
    @classmethod
    def _of_one_division(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not given:
            return given
        for names in DIVISIONS:
            if set(names) == set(given):
                return names
        known = ", or ".join(" and ".join(names) for names in DIVISIONS)
        raise ValueError(f"give {known}")

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.groups and self.search not in ("auto", "bisect"):
            raise ValueError(
                "`groups` are tried after a search where harm grows with λ; write search: auto"
            )
        if self.search and self.rule == "knee":
            raise ValueError("a knee needs the whole grid; remove `search`, or write best-utility")
        return self


class Tuning(Frozen):
    """One fine-tuning, of one or more seeds, and what it is evaluated on."""

    name: str
    validation: Tasks
    test: Tasks

    def of(self, split: Split) -> Tasks:
        """Return a split's tasks."""
        return self.validation if split == "validation" else self.test


class Variant(Frozen):
    """One model: the base, a fine-tuned model, or a merge.

    Attributes:
        id: names its folder.
        kind: base, tuned or merged.
        tuning: name of the fine-tuning; None for the base.
        method: how it was merged, such as `dare-linear`; None for the base and fine-tuned models.
        label: what tables call the method, such as RESTA_d.
        seeds: of the fine-tuned models in it; none for the base, several for Model Stock.
        point: the grid's values, such as {"lambda": 0.4, "drop_rate": 0.3}; where λ differs between
            groups of layers, {"early": 0.2, "late": 0.4}.
        served: as an adapter on the base's engine, or as a checkpoint.
        results: split → folder of lm-eval's files; a split that was not evaluated is missing.
        failure: why results are missing.
        stopped: why a search asked it no further.
    """

    id: str
    kind: Literal["base", "tuned", "merged"]
    tuning: str | None = None
    method: str | None = None
    label: str | None = None
    seeds: tuple[int, ...] = ()
    point: dict[str, float] = {}
    served: Literal["adapter", "checkpoint"] = "checkpoint"
    results: dict[Split, str] = {}
    failure: str | None = None
    stopped: str | None = None


class Agreement(Frozen):
    """How often a variant served as an adapter answered as its merged checkpoint does, greedily."""

    variant: str
    split: Split
    equal: int
    total: int


class Manifest(Frozen):
    """A sweep's outcome.

    Attributes:
        base: the aligned model.
        judge: the judge's name, which is also the filter's in lm-eval's files; of several, joined
            by `+`, the first one's results count.
        test_points: which grid points get test data.
        provenance: settings and versions, for the report.
    """

    format: Literal[1] = 1
    name: str
    base: str
    judge: str
    choose: Rule
    test_points: TestPoints = "all"
    tunings: tuple[Tuning, ...]
    variants: tuple[Variant, ...]
    agreement: tuple[Agreement, ...] = ()
    provenance: dict[str, Any] = {}

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest in a sweep's output folder.

        Raises:
            SafemergeError: there is none, or it is broken.
        """
        path = folder / MANIFEST
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SafemergeError(
                f"{folder} is no sweep's output, it has no {MANIFEST}; run safemerge sweep."
            ) from error
        except ValidationError as error:
            first = mistakes(error, cls, thing="a key of it")[0]
            raise SafemergeError(
                f"{path} is broken ({first.what}); run safemerge sweep again."
            ) from error

    def write(self, folder: Path) -> None:
        """Write it in one step."""
        replace_file(folder / MANIFEST, self.model_dump_json(indent=2) + "\n")
