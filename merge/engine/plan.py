"""What a merge will write, settled from headers and configurations alone.

Everything that can be wrong with a set of inputs is found here, before a weight is read.
"""

from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from merge.errors import MergeError, list_problems
from merge.formats.dtypes import FLOATS, Array, code_of, config_name
from merge.methods import find_method
from merge.methods.method import Method, Values
from merge.models.alignment import Alignment, align
from merge.models.input_models import InputModel, Inputs
from merge.models.input_tensors import InputTensors
from merge.recipe.recipe import Recipe
from merge.recipe.tensor_settings import Place, places


@dataclass(frozen=True)
class TensorPlan(Array):
    """One output tensor: its type and shape, where it comes from, and how.

    Attributes:
        lambdas: λ for each output.
        copied: taken from the base as it is, as integers and booleans are.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    operands: InputTensors
    values: Values
    lambdas: tuple[float, ...]
    copied: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything a merge will write; ``tokenizer`` is the folder its tokenizer comes from."""

    recipe: Recipe
    method: Method
    inputs: Inputs
    tensors: tuple[TensorPlan, ...]
    config: Mapping[str, Any]
    tokenizer: Path
    notes: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of tensors in one output."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def outputs(self) -> int:
        """How many checkpoints come out."""
        return max(1, len(self.recipe.lambdas))

    @property
    def written(self) -> int:
        """Bytes of tensors in all outputs."""
        return self.nbytes * self.outputs


def make_plan(recipe: Recipe, inputs: Inputs) -> Plan:
    """Settle a merge.

    Raises:
        MergeError: the inputs do not fit together; the message lists everything that is wrong.
    """
    problems = _quantised(inputs)
    if problems:
        raise MergeError(list_problems("Quantised weights cannot be merged", problems))
    alignment = align(inputs, recipe.vocabulary)
    problems = alignment.problems
    where = places(list(alignment.operands))
    tensors = []
    for name, operands in alignment.operands.items():
        if name not in alignment.rows:
            problems += _misfits(name, operands)
        rows = alignment.rows.get(name)
        tensors.append(_tensor(recipe, where[name], operands, rows))
    problems += _layer_count(recipe, inputs.main)
    if problems:
        raise MergeError(list_problems("The inputs do not fit together", problems))
    config = _config(inputs.main, tensors, alignment)
    method = find_method(recipe.method)
    return Plan(
        recipe, method, inputs, tuple(tensors), config, alignment.tokenizer, alignment.notes
    )


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


def _layer_count(recipe: Recipe, main: InputModel) -> list[str]:
    layers = main.checkpoint.config.get("num_hidden_layers")
    if recipe.layers in (None, layers):
        return []
    return [
        f"the recipe's layer_range ends at {recipe.layers} and {main.folder} has {layers} layers; "
        f"this tool merges whole models"
    ]


def _misfits(name: str, operands: InputTensors) -> list[str]:
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


def _tensor(recipe: Recipe, place: Place, operands: InputTensors, rows: int | None) -> TensorPlan:
    assert operands.base is not None
    stored = operands.base.stored
    shape = stored.shape if rows is None else (rows, *stored.shape[1:])
    copied = stored.dtype not in FLOATS
    dtype = code_of(recipe.dtype) if recipe.dtype and not copied else stored.dtype
    return TensorPlan(
        place.name,
        dtype,
        shape,
        operands,
        recipe.values_at(place),
        recipe.lambdas_at(place),
        copied,
    )


def _config(main: InputModel, tensors: list[TensorPlan], alignment: Alignment) -> dict[str, Any]:
    """Return the base's configuration with the output's true type, tying and vocabulary size."""
    config = deepcopy(dict(main.checkpoint.config))
    if alignment.untied:
        _set(config, "tie_word_embeddings", False)
    if alignment.rows:
        _set(config, "vocab_size", max(alignment.rows.values()))
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


def _set(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a key where the configuration has it, in the text model's part or on top."""
    parts = [config, config.get("text_config")]
    holders = [part for part in parts if isinstance(part, dict) and key in part] or [config]
    for holder in holders:
        holder[key] = value
