"""mergekit's slices of layers, where together they are the whole model."""

from typing import Any

from merge.errors import MergeError

_ABSENT = object()


def join_slices(
    slices: list[dict[str, Any]], common: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any], int]:
    """Return what slices say as models with parameters, each slice by slice where they differ.

    As in mergekit a source's parameter goes before its slice's, and that before the recipe's, and a
    gradient runs from the first layer of each slice to its last.

    Args:
        slices: each with its sources, and perhaps parameters.
        common: the recipe's parameters.

    Returns:
        The models, the recipe's parameters, and how many layers there are.

    Raises:
        MergeError: the slices are not the model's layers in their order, or take other models.
    """
    ranges = [_range(each) for each in slices]
    begins = [first for first, _ in ranges]
    if begins != [0, *(end for _, end in ranges[:-1])]:
        shown = ", ".join(f"{first} to {end}" for first, end in ranges)
        raise MergeError(
            f"this tool merges whole models, and the slices have the layers {shown}; give all "
            f"layers once, in their order from 0."
        )
    names = [source["model"] for source in slices[0]["sources"]]
    if any(sorted(_names(each)) != sorted(names) for each in slices):
        raise MergeError(
            "this tool merges whole models, and the slices have other models than the first; give "
            "all of them the same."
        )
    shared = [{**common, **(each.get("parameters") or {})} for each in slices]
    models = []
    for name in names:
        own = [
            next(source for source in each["sources"] if source["model"] == name).get("parameters")
            or {}
            for each in slices
        ]
        given = dict.fromkeys(key for parameters in own for key in parameters)
        parameters = {
            key: _joined(key, [{**a, **b} for a, b in zip(shared, own, strict=True)], ranges)
            for key in given
        }
        models.append({"model": name, "parameters": parameters})
    given = dict.fromkeys(key for parameters in shared for key in parameters)
    return models, {key: _joined(key, shared, ranges) for key in given}, ranges[-1][1]


def _range(entry: dict[str, Any]) -> tuple[int, int]:
    """Return the layers of a slice, the same for all its sources."""
    only, *others = [source.get("layer_range") for source in entry["sources"]] or [None]
    whole = isinstance(only, list) and [type(end) for end in only] == [int, int]
    if not whole or any(other != only for other in others) or only[0] >= only[1]:
        raise MergeError(
            "this tool merges whole models; all sources of a slice need the same layer_range, such "
            "as [0, 16]."
        )
    return only[0], only[1]


def _names(entry: dict[str, Any]) -> list[str]:
    return [source["model"] for source in entry["sources"]]


def _joined(key: str, given: list[dict[str, Any]], ranges: list[tuple[int, int]]) -> Any:
    """Return a parameter's value: one for all slices, or each slice's."""
    values = [parameters.get(key, _ABSENT) for parameters in given]
    if any(value is _ABSENT for value in values):
        raise MergeError(
            f"some slices give {key} and others do not; give it in each, or once for all."
        )
    if len(values) == 1 or (
        all(value == values[0] for value in values) and not isinstance(values[0], list | dict)
    ):
        return values[0]
    return [
        {"layers": list(layers), "value": [value] if isinstance(value, dict) else value}
        for layers, value in zip(ranges, values, strict=True)
    ]
