"""The parameters of a method: a pydantic model, read from what a recipe gives one tensor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from merge.errors import MergeError


class Parameters(BaseModel):
    """What a method takes: a subclass has one field for each parameter.

    Fields are `float`, `int` or `bool`, or one of them and `None` where the default depends on the
    models. They have a `description` in one line, and `ge` and `le` where there are limits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class ParameterDescription:
    """A parameter as people see it.

    Attributes:
        type: ``float``, ``int`` or ``bool``.
        default: None if it depends on the models, or if there is none.
        required: whether the recipe has to give it.
        low, high: the limits, both included.
        per_model: whether each fine-tuned model may have its own.
    """

    name: str
    help: str
    type: str
    default: float | bool | None = None
    required: bool = False
    low: float = -math.inf
    high: float = math.inf
    per_model: bool = False

    def wanted(self, value: float) -> str:
        """Return what the parameter must do that this value does not."""
        if self.type == "bool":
            return "be true or false"
        if self.type == "int" and value % 1:
            return "be a whole number"
        return f"lie between {self.low:g} and {self.high:g}"


def describe_parameters(
    model: type[Parameters], *, per_model: bool = False
) -> list[ParameterDescription]:
    """Return what people should know of each parameter."""
    return [
        ParameterDescription(
            name,
            field.description or "",
            _type(field),
            None if field.is_required() else field.default,
            field.is_required(),
            next((each.ge for each in field.metadata if hasattr(each, "ge")), -math.inf),
            next((each.le for each in field.metadata if hasattr(each, "le")), math.inf),
            per_model,
        )
        for name, field in model.model_fields.items()
    ]


def _type(field: FieldInfo) -> str:
    kinds: list[Any] = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    return str((kinds or [field.annotation])[0].__name__)


Model = TypeVar("Model", bound=Parameters)


def read_parameters(model: type[Model], given: Mapping[str, float | bool]) -> Model:
    """Return a method's parameters with these values.

    Raises:
        MergeError: a value is not of the parameter's type, or beyond its limits.
    """
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name, value = first["loc"][0], first["input"]
        wanted = next(
            each.wanted(value) for each in describe_parameters(model) if each.name == name
        )
        raise MergeError(f"The parameter {name} is {value:g}; it must {wanted}.") from error
