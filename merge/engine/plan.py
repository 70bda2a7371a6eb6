"""What a merge will write, settled from headers and configurations alone.

Everything that can be wrong with a set of inputs is found here, before a weight is read.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merge.engine.fp8_output import (
    CODE,
    FP8,
    RowScales,
    fp8_problems,
    is_scaled,
    quantization_config,
    row_scales,
)
from merge.errors import MergeError, list_problems
from merge.formats.dtypes import FLOATS, Array, code_of, config_name, work_dtype
from merge.methods import find_method
from merge.methods.method import Method, Values
from merge.models.alignment import Alignment, Policies, align
from merge.models.configurations import compare
from merge.models.input_models import InputModel, Inputs
from merge.models.input_tensors import Identity, InputTensors
from merge.models.quantised_weights import quantisation_note, quantised
from merge.models.saved_vector import METHOD as SAVED_VECTOR
from merge.recipe.recipe import Recipe
from merge.recipe.tensor_settings import Place, places, stack_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TensorPlan(Array):
    """One output tensor: its type and shape, where it comes from, and how.

    Attributes:
        lambdas: λ for each output.
        copied: taken from the base as it is, as integers and booleans are, and what only it has.
        scaled: written as 8-bit codes, with a scale for each row beside it.
        unchanged: no input changes it, so that its numbers are the base's, to the bit.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    operands: InputTensors
    values: Values
    lambdas: tuple[float, ...]
    copied: bool = False
    scaled: bool = False
    unchanged: bool = False

    @property
    def merged(self) -> bool:
        """Whether it is computed."""
        return not (self.copied or self.unchanged)

    @property
    def work_dtype(self) -> "torch.dtype":
        """The type it is computed in, which follows from the base alone and not from the output."""
        assert self.operands.base is not None
        return work_dtype(self.operands.base.stored.dtype)


@dataclass(frozen=True)
class Plan:
    """Everything a merge will write.

    Attributes:
        tokenizer: the folder its tokenizer comes from.
        template: its chat template, where that is not the tokenizer's.
        special_ids: of its special tokens, where they are not the base's.
    """

    recipe: Recipe
    method: Method
    inputs: Inputs
    tensors: tuple[TensorPlan, ...]
    config: Mapping[str, Any]
    tokenizer: Path
    template: str | None = None
    special_ids: Mapping[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def arrays(self) -> "list[TensorPlan | RowScales]":
        """Everything that lies in one output's files: the tensors, each before its scales."""
        found: list[TensorPlan | RowScales] = []
        for tensor in self.tensors:
            found.append(tensor)
            if tensor.scaled:
                found.append(row_scales(tensor))
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of tensors in one output."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def outputs(self) -> int:
        """How many checkpoints come out."""
        return max(1, len(self.recipe.lambdas))

    @property
    def written(self) -> int:
        """Bytes of tensors in all outputs; of adapters about what the inputs' have."""
        if self.recipe.output == "adapter":
            adapters = {model.adapter.path for model in self.inputs.all() if model.adapter}
            return sum(path.stat().st_size for path in adapters) * self.outputs
        return self.nbytes * self.outputs


def make_plan(recipe: Recipe, inputs: Inputs) -> Plan:
    """Settle a merge.

    Raises:
        MergeError: the inputs do not fit together; the message lists everything that is wrong.
    """
    problems = _quantised(inputs, recipe)
    if problems:
        raise MergeError(list_problems("Quantised weights cannot be merged", problems))
    alignment = align(
        inputs,
        Policies(
            recipe.vocabulary,
            recipe.chat_template,
            recipe.extra,
            difference=recipe.method == SAVED_VECTOR,
        ),
    )
    _compare_configurations(inputs, alignment)
    problems = alignment.problems
    where = places(list(alignment.operands))
    tensors = []
    settings = _Settings(recipe)
    for name, operands in alignment.operands.items():
        if name not in alignment.rows:
            problems += _misfits(name, operands)
        rows = alignment.rows.get(name)
        tensors.append(_tensor(settings, where[name], operands, rows, name in alignment.copied))
    problems += _values(recipe, tensors)
    problems += _layer_count(recipe, inputs.main, alignment)
    if recipe.dtype == FP8:
        problems += fp8_problems(inputs.main.checkpoint, tensors)
    if problems:
        raise MergeError(list_problems("The inputs do not fit together", problems))
    config = _config(inputs.main, tensors, alignment)
    method = find_method(recipe.method)
    return Plan(
        recipe,
        method,
        inputs,
        tuple(
            replace(tensor, unchanged=True) if _is_unchanged(method, tensor) else tensor
            for tensor in tensors
        ),
        config,
        alignment.tokenizer,
        alignment.template,
        alignment.special_ids,
        alignment.notes,
    )


def _quantised(inputs: Inputs, recipe: Recipe) -> list[str]:
    checkpoints = {id(model.checkpoint): model.checkpoint for model in inputs.all()}.values()
    problems = [
        found for each in checkpoints if (found := quantised(each, dequantize=recipe.dequantize))
    ]
    return problems + [
        f"{each.folder} is quantised ({each.dequantised}); this merge of several needs --dequantize"
        for each in checkpoints
        if each.dequantised and not recipe.dequantize
    ]


def _compare_configurations(inputs: Inputs, alignment: Alignment) -> None:
    """Add what differs between the base's configuration and the others'."""
    main = inputs.main.checkpoint
    checkpoints = {id(model.checkpoint): model.checkpoint for model in inputs.all()}
    for each in checkpoints.values():
        if note := quantisation_note(each):
            alignment.notes.append(note)
        if each is not main:
            problems, notes = compare(main, each)
            alignment.problems += problems
            alignment.notes += notes


def _layer_count(recipe: Recipe, main: InputModel, alignment: Alignment) -> list[str]:
    layers = main.checkpoint.layers
    stacks = {stack_of(name) for name in alignment.operands} - {""}
    if recipe.has_slices and (len(stacks) > 1 or "text_config" in main.checkpoint.config):
        return [
            f"{main.folder} has layers of several kinds, and the recipe's slices do not say which "
            f"they are of; give it filters in place of slices"
        ]
    if recipe.layers in (None, layers):
        return []
    return [
        f"the recipe's layer_range ends at {recipe.layers} and {main.folder} has {layers} layers; "
        f"this tool merges whole models"
    ]


def _values(recipe: Recipe, tensors: list[TensorPlan]) -> list[str]:
    """Return what the method finds wrong with the parameters, once with the first such tensor."""
    method = find_method(recipe.method)
    wrong: dict[str, str] = {}
    # Tensors that share their values share the answer.
    for tensor in {id(each.values): each for each in tensors if not each.copied}.values():
        if found := method.check(len(recipe.tuned), tensor.values):
            wrong.setdefault(found, tensor.name)
    return [f"{problem} (at {name})" for problem, name in wrong.items()]


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


class _Settings:
    """What a recipe sets for a tensor, read once where it is the same for all."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        own = [recipe.parameters, *(model.parameters for model in recipe.tuned)]
        self._vary = any(isinstance(each, list) for given in own for each in given.values()) or any(
            isinstance(each, dict) for each in recipe.lambdas
        )
        self._same: tuple[Values, tuple[float, ...]] | None = None

    def at(self, place: Place) -> tuple[Values, tuple[float, ...]]:
        """Return the method's parameters and λ for one tensor."""
        if self._same is not None:
            return self._same
        found = self.recipe.values_at(place), self.recipe.lambdas_at(place)
        if not self._vary:
            self._same = found
        return found


def _tensor(
    settings: _Settings, place: Place, operands: InputTensors, rows: int | None, copied: bool
) -> TensorPlan:
    assert operands.base is not None
    stored, recipe = operands.base.stored, settings.recipe
    values, lambdas = settings.at(place)
    shape = stored.shape if rows is None else (rows, *stored.shape[1:])
    numbers = stored.dtype in FLOATS
    dtype = stored.kept_dtype
    scaled = recipe.dtype == FP8 and numbers and not copied and is_scaled(place.name, shape)
    if scaled:
        dtype = CODE
    elif recipe.dtype not in (None, FP8) and numbers:
        dtype = code_of(recipe.dtype)
    return TensorPlan(
        place.name, dtype, shape, operands, values, lambdas, copied or not numbers, scaled
    )


def _is_unchanged(method: Method, tensor: TensorPlan) -> bool:
    """Return whether every model that the method adds to the base has the base's own tensor."""
    operands, base = tensor.operands, tensor.operands.base
    assert base is not None
    if tensor.copied or tensor.scaled or base.adapter or base.stored.shape != tensor.shape:
        return False
    if any(each.identity != base.identity for each in operands.tuned):
        return False
    if not method.keeps_base(tensor.values):
        return False
    coefficients = method.coefficients(tensor.values, 1.0)
    return coefficients is None or _cancel(coefficients.roles, operands)


def _cancel(roles: Mapping[str, float], operands: InputTensors) -> bool:
    """Return whether what other models add comes to nothing: one tensor as often more as less."""
    assert operands.base is not None
    sums: dict[Identity, float] = defaultdict(float)
    for name, factor in roles.items():
        operand = operands.roles.get(name)
        if factor and (operand is None or operand.difference):
            return False
        if operand is not None:
            sums[operand.identity] += factor
    return not any(total for one, total in sums.items() if one != operands.base.identity)


def _config(main: InputModel, tensors: list[TensorPlan], alignment: Alignment) -> dict[str, Any]:
    """Return the base's configuration with the output's true type, tying and vocabulary size."""
    config = deepcopy(dict(main.checkpoint.config))
    # Quantised weights are refused, so one that is left says what is no longer so.
    for part in (config, *(each for each in config.values() if isinstance(each, dict))):
        part.pop("quantization_config", None)
    if any(tensor.scaled for tensor in tensors):
        config["quantization_config"] = quantization_config(
            [tensor for tensor in tensors if not tensor.scaled]
        )
    # Where the base was loaded from once is nobody's business, and loaders set it anew.
    config.pop("_name_or_path", None)
    if alignment.untied:
        _set(config, "tie_word_embeddings", False)
    if alignment.rows:
        text = config.get("text_config")
        if "vocab_size" not in config and isinstance(text, dict):
            text.setdefault("vocab_size", 0)
        _set(config, "vocab_size", max(alignment.rows.values()))
    for key, value in alignment.special_ids.items():
        _set(config, key, value)
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
