"""How a suite's YAML says where its questions come from."""

import difflib
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from safemerge_tasks.errors import SafemergeError


class Part(BaseModel):
    """One file of a suite that is spread over files, such as HEx-PHI's one a category."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    category: str | None = None
    optional: bool = False
    """True where some releases of the suite lack this file."""


class SuiteSpec(BaseModel):
    """The `dataset_kwargs` of a suite's YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="prefix of question ids")
    language: str = "en"
    parts: tuple[Part, ...] = Field(min_length=1)
    folder: str = Field("", description="folder of the parts below SAFEMERGE_DATA_DIR")
    format: Literal["csv"] = "csv"
    header: bool = True
    question: str | int = Field(description="the question's column; a number without a header")
    columns: tuple[str, ...] | None = Field(None, description="all columns, in order")
    category: str | int | None = Field(None, description="the category's column")
    rows: int | None = Field(None, ge=1, description="questions in each part")
    url: str | None = Field(None, description="pinned address; {file} is the part's file")
    hub: str | None = Field(None, description="data set id on the Hub")
    revision: str | None = Field(None, description="pinned revision on the Hub")
    access: str | None = Field(None, description="what to do where the source is gated")

    @model_validator(mode="after")
    def _columns_fit_header(self) -> Self:
        if not self.header and not isinstance(self.question, int):
            raise ValueError("without a header, `question` is a column number, counted from 0")
        return self

    @classmethod
    def checked(cls, given: Mapping[str, Any], where: str) -> Self:
        """Validate a YAML's `dataset_kwargs`.

        Raises:
            SafemergeError: an unknown key (with the nearest known one) or an impossible value.
        """
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            hint = ""
            if first["type"] == "extra_forbidden":
                near = difflib.get_close_matches(str(first["loc"][-1]), cls.model_fields, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SafemergeError(f"{where}: dataset_kwargs.{key}: {first['msg']}{hint}") from error
