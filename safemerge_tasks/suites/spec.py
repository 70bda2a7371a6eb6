"""How a suite's YAML says where its questions come from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.validation import mistakes, validated

Format = Literal["csv", "json", "jsonl", "parquet", "lines"]

QUESTION_KEYS = frozenset(("id", "question", "category", "subcategory", "language", "cluster"))
"""What every question has."""

_KEYS = "dataset_kwargs"
_THING = "a key of a suite"

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"


class Part(BaseModel):
    """One file of a suite that is spread over files, such as HEx-PHI's one a category."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    category: str | None = None
    optional: bool = False
    """True where some releases of the suite lack this file."""
    also: tuple[str, ...] = ()
    """Other names that people have the file under in SAFEMERGE_DATA_DIR."""


class Sample(BaseModel):
    """A fixed subset: the same questions whatever their order and whoever draws them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(ge=1, description="questions, of each group if `per` is given")
    per: tuple[Literal["category", "subcategory"], ...] = ()
    seed: int
    total: int | None = Field(None, ge=1, description="questions in all, checked")
    evenly: bool = Field(
        False, description="`count` is that of all groups together, as evenly as it goes"
    )


class HoldOut(BaseModel):
    """A division of the questions into validation data and the rest, for choosing λ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    share: float | None = Field(None, gt=0, lt=1, description="of the questions, held out")
    count: int | None = Field(None, ge=1, description="questions held out")
    keep: Literal["held_out", "rest", "all"]
    drawn: dict[int, str] = Field(
        {},
        description="seed → the file with the rows that a paper's authors held out with it, beside "
        "the published file; for other seeds and other files the share is ours",
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.share is None) == (self.count is None):
            raise ValueError("give either `share` or `count`")
        return self


class SuiteSpec(BaseModel):
    """The `dataset_kwargs` of a suite's YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str = Field(pattern=NAME_PATTERN, description="prefix of question ids")
    language: str = "en"
    harmless: bool = Field(False, description="questions that a model should answer")
    parts: tuple[Part, ...] = Field(
        (), description="files; for Hub rows <suite>.jsonl unless given"
    )
    folder: str = Field("", description="folder of the parts below SAFEMERGE_DATA_DIR")
    format: Format | None = Field(
        None,
        description="of the parts, `lines` for one question a line; else their extension tells",
    )
    header: bool = Field(True, description="false for CSV files without a header row")
    question: str | int | tuple[str, ...] = Field(
        description="the question's column, or columns of which the first that the source has "
        "counts; a number without a header"
    )
    context: str | None = Field(
        None, description="the column of a text that a question is about, which goes before it"
    )
    category: str | int | None = Field(
        None, description="the category's column; of a list there, the first counts"
    )
    subcategory: str | int | None = Field(None, description="the subcategory's column")
    target: str | None = Field(
        None,
        description="the column of how a harmful answer begins, with which the attack `prefill` "
        "begins the model's; no part of the question",
    )
    fields: dict[str, tuple[str | None, ...]] = Field(
        {},
        description="further keys of a question, such as its reference answer, each with the "
        "columns that may hold it; the first that the source has counts. With null among them it "
        "may have none, and the key is empty",
    )
    columns: tuple[str, ...] | None = Field(None, description="all columns")
    where: dict[str, str | tuple[str, ...]] = Field(
        {}, description="keep the rows with these values, each one or one of several"
    )
    skip_empty: bool = Field(
        False, description="leave out rows that lack the question or one of `fields`"
    )
    rows: int | None = Field(None, ge=1, description="questions in each part, after `where`")
    duplicates: bool = Field(False, description="the published set repeats questions")
    near_duplicates: float | None = Field(
        None,
        gt=0,
        le=1,
        description="questions that share this much of their words are one cluster",
    )
    cluster: str | None = Field(
        None,
        description="the column whose equal values mark one question, as its translations have",
    )
    parallel: bool = Field(
        False,
        description="suites of other languages hold the same questions, in the same order within "
        "each subcategory",
    )
    sample: Sample | None = None
    hold_out: HoldOut | None = Field(None, description="applied after `sample`")
    url: str | None = Field(None, description="pinned address; {file} is the part's file")
    hub: str | None = Field(None, description="data set id on the Hub")
    config: str | None = Field(None, description="configuration of the data set on the Hub")
    split: str | None = Field(None, description="read this split's rows, not files, from the Hub")
    revision: str | None = Field(None, description="pinned revision on the Hub")
    access: str | None = Field(None, description="what to do where the source is gated")

    @model_validator(mode="before")
    @classmethod
    def _one_part_for_hub_rows(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("split") and not given.get("parts"):
            return {**given, "parts": [{"file": f"{given.get('suite')}.jsonl"}]}
        return given

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        if not self.parts:
            raise ValueError("give `parts`, or `hub` with `split` for the rows of a data set")
        if self.split and not self.hub:
            raise ValueError("`split` needs `hub`, the data set's id")
        if not self.header and not isinstance(self.question, int):
            raise ValueError("without a header, `question` is a column number, counted from 0")
        if self.parallel and (self.category is None or self.subcategory is None):
            raise ValueError("`parallel` needs `category` and `subcategory`")
        clusters = {
            "parallel": self.parallel,
            "near_duplicates": self.near_duplicates is not None,
            "cluster": self.cluster is not None,
        }
        told = [f"`{key}`" for key, given in clusters.items() if given]
        if len(told) > 1:
            raise ValueError(f"{' and '.join(told)} each say what a cluster is; keep one")
        if taken := self.fields.keys() & (QUESTION_KEYS | self._kept_apart):
            raise ValueError(f"`fields` cannot be called {sorted(taken)[0]}; rename it")
        return self

    @property
    def _kept_apart(self) -> frozenset[str]:
        """Keys that stand in a question for something else than a field."""
        return frozenset({"gen_prefix"} if self.target is None else {"gen_prefix", "target"})

    @classmethod
    def checked(cls, given: Mapping[str, Any], where: str, beside: Path | None = None) -> Self:
        """Validate a YAML's `dataset_kwargs`.

        Args:
            given: the keys.
            where: begins the error sentence.
            beside: the YAML's folder; files that are there are taken from there.

        Raises:
            SafemergeError: an unknown key (with the nearest known one) or an impossible value.
        """
        spec = validated(cls, dict(given), thing=_THING, where=f"{where}: {_KEYS}")
        return spec if beside is None else spec._beside(beside)

    def _beside(self, folder: Path) -> Self:
        parts = [
            part.model_copy(update={"file": str((folder / part.file).absolute())})
            if (folder / part.file).is_file()
            else part
            for part in self.parts
        ]
        return self.model_copy(update={"parts": tuple(parts)})

    def divided_as(self, metadata: Mapping[str, Any]) -> Self:
        """Return the suite with the part of it that lm-eval's `--metadata` asks for.

        `split=test_rest` leaves out the questions that another task uses as validation data;
        `split_seed=N` divides training sources by another seed (a validation set of fixed size
        stays the same for everybody).

        Raises:
            SafemergeError: an impossible value.
        """
        split, seed = metadata.get("split", "all"), metadata.get("split_seed")
        if split not in ("all", "test_rest"):
            raise SafemergeError(f"split={split!r}: give all or test_rest.")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise SafemergeError(f"split_seed={seed!r} is not a whole number.")
        held = self.hold_out
        if held is None:
            return self
        if split == "test_rest" and held.keep == "all":
            held = held.model_copy(update={"keep": "rest"})
        if seed is not None and held.share is not None:
            held = held.model_copy(update={"seed": seed})
        return self.model_copy(update={"hold_out": held})

    @classmethod
    def problems(cls, given: Mapping[str, Any]) -> list[str]:
        """Return everything that is wrong with a YAML's `dataset_kwargs`."""
        try:
            cls.model_validate(dict(given))
        except ValidationError as error:
            return [f"{_KEYS}: {one}" for one in mistakes(error, cls, thing=_THING)]
        return []
