"""What a merge will write, settled from headers and configurations alone.

Everything that can be wrong with a set of inputs is found here, before a weight is read.
"""

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from merge.dtypes import FLOATS, ITEM_SIZE, code_of, config_name
from merge.errors import MergeError
from merge.inputs import InputModel, Inputs, list_problems
from merge.methods import find_method
from merge.methods.base import Method, Values
from merge.operands import Operand, Operands
from merge.recipe import Recipe
from merge.settings import Place, places


@dataclass(frozen=True)
class TensorPlan:
    """One output tensor: its type and shape, where it comes from, and how.

    Attributes:
        lambdas: λ for each output.
        copied: taken from the base as it is, as integers and booleans are.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    operands: Operands
    values: Values
    lambdas: tuple[float, ...]
    copied: bool = False

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.elements * ITEM_SIZE[self.dtype]


@dataclass(frozen=True)
class Plan:
    """Everything a merge will write."""

    recipe: Recipe
    method: Method
    inputs: Inputs
    tensors: tuple[TensorPlan, ...]
    config: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of tensors in one output."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def outputs(self) -> int:
        """How many checkpoints come out."""
        return max(1, len(self.recipe.lambdas))


def make_plan(recipe: Recipe, inputs: Inputs) -> Plan:
    """Settle a merge.

    Raises:
        MergeError: the inputs do not fit together; the message lists everything that is wrong.
    """
    problems = _quantised(inputs)
    if problems:
        raise MergeError(list_problems("Quantised weights cannot be merged", problems))
    names = list(inputs.main.checkpoint.tensors)
    problems = _missing_or_extra(inputs, names)
    where = places(names)
    tensors = []
    for name in names:
        operands = _operands(inputs, name)
        if operands is None:
            continue
        problems += _misfits(name, operands)
        tensors.append(_tensor(recipe, where[name], operands))
    if problems:
        raise MergeError(list_problems("The inputs do not fit together", problems))
    config = _config(inputs.main, tensors)
    return Plan(recipe, find_method(recipe.method), inputs, tuple(tensors), config)


def _quantised(inputs: Inputs) -> list[str]:
    problems = []
    for model in inputs.all():
        found = model.checkpoint.config.get("quantization_config")
        if found:
            kind = found.get("quant_method", "unknown") if isinstance(found, dict) else found
            problems.append(
                f"{model.checkpoint.folder} is quantised ({kind}); give the unquantised model"
            )
            continue
        odd = [
            tensor
            for tensor in model.checkpoint.tensors.values()
            if tensor.dtype.startswith("F8") or tensor.dtype == "C64"
        ]
        if odd:
            problems.append(
                f"{odd[0].path} stores {odd[0].name} and {len(odd) - 1} more as {odd[0].dtype}; "
                f"give the model in bfloat16, float16 or float32"
            )
    return problems


def _missing_or_extra(inputs: Inputs, names: list[str]) -> list[str]:
    problems = []
    for model in inputs.all():
        if model.checkpoint is inputs.main.checkpoint:
            continue
        own = model.checkpoint.tensors
        problems += [f"{model.folder} lacks {name}" for name in names if name not in own]
        problems += [
            f"{model.folder} has {name}, which {inputs.main.folder} lacks"
            for name in own
            if name not in inputs.main.checkpoint.tensors
        ]
    return problems


def _operands(inputs: Inputs, name: str) -> Operands | None:
    def of(model: InputModel | None) -> Operand | None:
        return None if model is None else model.operand(name)

    tuned = [of(model) for model in inputs.tuned]
    wanted = (inputs.main, inputs.aligned, inputs.unaligned, inputs.vector)
    if None in tuned or any(model is not None and of(model) is None for model in wanted):
        return None
    return Operands(
        base=of(inputs.main),
        tuned=tuple(operand for operand in tuned if operand is not None),
        aligned=of(inputs.aligned),
        unaligned=of(inputs.unaligned),
        vector=of(inputs.vector),
    )


def _misfits(name: str, operands: Operands) -> list[str]:
    base = operands.base
    assert base is not None
    problems = []
    for operand in operands.all():
        stored = operand.stored
        if stored.shape != base.stored.shape:
            problems.append(
                f"{name} has shape {list(stored.shape)} in {stored.path} and "
                f"{list(base.stored.shape)} in {base.stored.path}"
            )
        if (stored.dtype in FLOATS) != (base.stored.dtype in FLOATS):
            problems.append(
                f"{name} is {stored.dtype} in {stored.path} and {base.stored.dtype} in "
                f"{base.stored.path}"
            )
    return problems


def _tensor(recipe: Recipe, place: Place, operands: Operands) -> TensorPlan:
    assert operands.base is not None
    stored = operands.base.stored
    copied = stored.dtype not in FLOATS
    dtype = code_of(recipe.dtype) if recipe.dtype and not copied else stored.dtype
    return TensorPlan(
        place.name,
        dtype,
        stored.shape,
        operands,
        recipe.values_at(place),
        recipe.lambdas_at(place),
        copied,
    )


def _config(main: InputModel, tensors: list[TensorPlan]) -> dict[str, Any]:
    """Return the base's configuration with the type that most of the output is stored in."""
    config = deepcopy(dict(main.checkpoint.config))
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in FLOATS:
            sizes[tensor.dtype] += tensor.nbytes
    if not sizes:
        return config
    dtype = config_name(sizes.most_common(1)[0][0])
    nested = [part for part in config.values() if isinstance(part, dict)]
    for part in [config, *nested]:
        for key in ("dtype", "torch_dtype"):
            if key in part:
                part[key] = dtype
    if "dtype" not in config and "torch_dtype" not in config:
        config["dtype"] = dtype
    return config
