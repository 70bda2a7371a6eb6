"""Values that may differ from tensor to tensor: a number, a gradient over depth, or filters.

The forms are those of mergekit's recipes: a number; a list of numbers, interpolated linearly from
the first layer to the last; or a list of ``{filter, value}``, of which the first counts whose
filter is a part of the tensor's name (``*`` or no filter matches everything). Any of them may be
given for each slice of layers, as ``{layers, value}``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from merge.errors import MergeError

Number = Annotated[float, Field(allow_inf_nan=False)]


NO_PATTERN = (
    "a filter is a part of tensors' names and no pattern, as in mergekit; write it without *, ? "
    "and [, such as mlp"
)


class Filtered(BaseModel):
    """A value for the tensors whose name matches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: str | None = None
    value: Number | bool | list[Number]

    @field_validator("filter")
    @classmethod
    def _part_of_a_name(cls, text: str | None) -> str | None:
        if text not in (None, "*") and any(character in text for character in "*?["):
            raise ValueError(NO_PATTERN)
        return text

    def matches(self, name: str) -> bool:
        """Whether a tensor's name contains the filter."""
        return self.filter is None or self.filter == "*" or self.filter in name


class Sliced(BaseModel):
    """A value for a slice: the layers from the first number to before the second."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: tuple[int, int]
    value: bool | Number | list[Number] | list[Filtered]

    def depth(self, layer: int) -> float:
        """Return where a layer is in its slice, from 0 to 1; the only one is at 1."""
        first, end = self.layers
        return (layer - first) / (end - first - 1) if end - first > 1 else 1.0


Setting = bool | Number | list[Number] | list[Filtered] | list[Sliced]


@dataclass(frozen=True)
class Place:
    """Where a tensor sits in its model: its name, its depth from 0 to 1, and its layer if any."""

    name: str
    depth: float
    layer: int | None = None


_LAYER = re.compile(r"\.(\d+)\.")
# What comes before the layers. What else has none comes behind them.
_EMBEDDING = re.compile(r"(^|[._])(embed(?!_out)|wte\b|wpe\b|word_embeddings)")


def places(names: Sequence[str]) -> dict[str, Place]:
    """Return the place of every tensor of a model.

    The first number in a tensor's name is its layer. As in mergekit, tensors outside the layers
    (embeddings, final norm, head) are at depth 0, and the layer of a model with only one is at 1.
    Towers, encoders and decoders are each as deep as themselves.
    """
    layers = {name: int(found[1]) for name in names if (found := _LAYER.search(name))}
    last: dict[str, int] = {}
    for name, layer in layers.items():
        last[stack_of(name)] = max(layer, last.get(stack_of(name), 0))
    return {
        name: Place(name, _depth(layers.get(name), last.get(stack_of(name), 0)), layers.get(name))
        for name in names
    }


def stack_of(name: str) -> str:
    """Return what a tensor's layer is counted in: what its name has before the number."""
    found = _LAYER.search(name)
    return name[: found.start()] if found else ""


def is_embedding(name: str) -> bool:
    """Return whether a tensor comes before the first layer."""
    return bool(_EMBEDDING.search(name))


def _depth(layer: int | None, last: int) -> float:
    if layer is None:
        return 0.0
    return layer / last if last else 1.0


def evaluate(setting: Setting, place: Place, *, what: str) -> float | bool:
    """Return a setting's value for one tensor.

    Raises:
        MergeError: no filter matches the tensor.
    """
    if isinstance(setting, bool | int | float):
        return setting
    if not setting:
        raise MergeError(f"The parameter {what} is an empty list; give a number.")
    value: Any
    for value in setting:
        if isinstance(value, Sliced):
            return _in_slice([each for each in setting if isinstance(each, Sliced)], place, what)
        if not isinstance(value, Filtered):
            return _gradient([float(number) for number in setting], place.depth)  # type: ignore[arg-type]
        if value.matches(place.name):
            return evaluate(value.value, place, what=what)
    raise MergeError(
        f"The parameter {what} has no value for tensor {place.name}: no filter matches it; add an "
        f"entry without a filter as the last one."
    )


def _in_slice(slices: Sequence[Sliced], place: Place, what: str) -> float | bool:
    """Return the value that a tensor's slice gives; the first's or last's outside the layers."""
    if place.layer is None:
        own = slices[0] if is_embedding(place.name) else slices[-1]
        depth = 0.0
    else:
        # A model with other layers than the slices is refused.
        own = next((each for each in slices if place.layer < each.layers[1]), slices[-1])
        depth = own.depth(place.layer)
    return evaluate(own.value, Place(place.name, depth, place.layer), what=what)


def has_slices(setting: Setting) -> bool:
    """Return whether a setting is given slice by slice."""
    return isinstance(setting, list) and any(isinstance(each, Sliced) for each in setting)


def _gradient(values: list[float], depth: float) -> float:
    position = depth * (len(values) - 1)
    low = min(int(position), len(values) - 1)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (position - low)


def complement(setting: Setting) -> Setting:
    """Return `1 - x` for every number of a setting: a density as a drop rate, or back."""
    if isinstance(setting, bool | int | float):
        return 1.0 - setting
    if sliced := [entry for entry in setting if isinstance(entry, Sliced)]:
        return [each.model_copy(update={"value": complement(each.value)}) for each in sliced]
    if entries := [entry for entry in setting if isinstance(entry, Filtered)]:
        return [
            entry.model_copy(update={"value": complement(_plain(entry.value))}) for entry in entries
        ]
    return [1.0 - number for number in setting if isinstance(number, int | float)]


def _plain(value: bool | float | list[float]) -> Setting:
    return value
