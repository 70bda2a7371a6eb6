"""LoRA adapters as inputs: a base model's tensors with the update added as they are read.

The update of a weight is `s·B·A` with B `[out, r]` and A `[in, r]ᵀ` (Hu et al. 2021, 2106.09685),
computed for the rows that are asked for. No merged copy is made anywhere. What an
adapter replaces instead of updating (`modules_to_save`, trained biases, trained tokens' rows) is
taken as weights.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merge.errors import MergeError
from merge.formats.dtypes import FLOATS, work_dtype
from merge.formats.finite_values import all_finite
from merge.formats.safetensors import read_header
from merge.formats.same_values import same_values
from merge.formats.stored_tensor import StoredTensor
from merge.formats.torch_bin import read_bin_header
from merge.lora.adapter_config import LoraConfig, NotStreamedError, read_lora_config
from merge.lora.adapter_keys import parse_key
from merge.lora.expert_factors import ExpertFactors, ParameterFactors
from merge.lora.updates import DenseUpdate, Dora, LowRank, RowUpdate, Update

if TYPE_CHECKING:
    import torch

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_BIN = "adapter_model.bin"
# What a module is called that peft wraps for one of its parameters, and wraps again for the next.
_WRAPPED = re.compile(r"(\.base_layer)+$")
# How many factors of experts are kept: both pairs of a layer.
_KEPT_FACTORS = 4
_FLAT = 2


@dataclass
class TokenRows:
    """Rows of an embedding that an adapter replaces."""

    indices: list[int]
    rows: StoredTensor


@dataclass
class Adapter:
    """An opened LoRA adapter.

    Attributes:
        path: the file of its tensors.
        factors: A and B (or both embedding factors) and whether the weight is `(B·A)ᵀ`, by the
            weight they update.
        magnitudes: the lengths of a weight's rows under DoRA, by the weight.
        replaced: full tensors that take the place of the base's, by the base's names.
        copies: those of them that are trained copies (`modules_to_save`), and not the base's own
            tensors: what is tied to the base's stays as it was.
        tokens: rows that take the place of the base's, by the embedding's name.
        bias_updates: LoRA's own bias on B, by the name of the layer's bias.
        parameters: factors of parameters whose names the file does not say.
        experts: what those are, once it is known, by the tensor they update.
        trained_as: the trainer's names of targets that are called otherwise here.
        dropped: tensors that say what another one says, such as a tied head.
    """

    folder: Path
    path: Path
    config: LoraConfig
    factors: dict[str, tuple[StoredTensor, StoredTensor, bool]] = field(default_factory=dict)
    magnitudes: dict[str, StoredTensor] = field(default_factory=dict)
    replaced: dict[str, StoredTensor] = field(default_factory=dict)
    copies: set[str] = field(default_factory=set)
    tokens: dict[str, TokenRows] = field(default_factory=dict)
    bias_updates: dict[str, StoredTensor] = field(default_factory=dict)
    parameters: list[ParameterFactors] = field(default_factory=list)
    experts: dict[str, ExpertFactors] = field(default_factory=dict)
    trained_as: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    descriptor: int = -1
    _kept: dict[StoredTensor, "torch.Tensor"] = field(default_factory=dict)

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def updates(self, name: str) -> bool:
        """Whether the adapter adds something to this tensor of the base."""
        held = (self.factors, self.experts, self.bias_updates, self.tokens)
        return any(name in each for each in held)

    def rename(self, name: str, new: str) -> None:
        """Give one of the targets another name; its scale stays that of the old one."""
        if name == new:
            return
        held: tuple[dict[str, Any], ...] = (
            self.factors,
            self.magnitudes,
            self.replaced,
            self.tokens,
            self.bias_updates,
        )
        for mapping in held:
            if name in mapping:
                mapping[new] = mapping.pop(name)
        if name in self.copies:
            self.copies.remove(name)
            self.copies.add(new)
        self.trained_as[new] = self.trained_as.pop(name, name)

    def _scale(self, name: str, ending: str) -> float:
        return self.config.scale_of(self.trained_as.get(name, name).removesuffix(ending))

    def bias_scale(self, name: str) -> float:
        """Return what LoRA's own bias is multiplied with."""
        return self._scale(name, ".bias")

    def read_update(self, name: str, base: StoredTensor) -> Update:
        """Read what the adapter adds to one tensor, in the type that is computed in."""
        dtype = work_dtype(base.dtype)
        if name in self.magnitudes:
            lengths = load(self.magnitudes[name]).reshape(-1)
            return Dora(self.low_rank(name, dtype), lengths, base)
        if name in self.factors:
            return self.low_rank(name, dtype)
        if name in self.experts:
            factors = self.experts[name]
            return factors.update(*(self._factor(f).to(dtype) for f in (factors.a, factors.b)))
        if name in self.tokens:
            return self.token_rows(self.tokens[name], base)
        return DenseUpdate(load(self.bias_updates[name]).to(dtype) * self.bias_scale(name))

    def low_rank(self, name: str, dtype: "torch.dtype") -> LowRank:
        """Read the factors of one weight's update."""
        a, b, transposed = self.factors[name]
        left, right = load(b).to(dtype), load(a).to(dtype)
        if transposed:
            left, right = right.T.contiguous(), left.T.contiguous()
        # An embedding's factors are turned too, and its rows are what they are for.
        turned = transposed and not is_of_embedding(a)
        return LowRank(left, right, self._scale(name, ".weight"), turned)

    def _factor(self, tensor: StoredTensor) -> "torch.Tensor":
        """Read a factor of many experts, which are merged one after the other."""
        kept = self._kept.get(tensor)
        if kept is None:
            kept = load(tensor)
            if len(self._kept) >= _KEPT_FACTORS:
                self._kept.clear()
            self._kept[tensor] = kept
        return kept

    def token_rows(self, tokens: TokenRows, base: StoredTensor) -> RowUpdate:
        """Read trained rows, as their difference to the base's."""
        import torch

        columns, dtype = base.shape[1], work_dtype(base.dtype)
        before = [
            base.read(index * columns, (index + 1) * columns)[0].to(dtype)
            for index in tokens.indices
        ]
        return RowUpdate(tokens.indices, load(tokens.rows).to(dtype) - torch.stack(before))


def load(tensor: StoredTensor) -> "torch.Tensor":
    """Read a whole small tensor in float32, or float64 if it is stored so, in its own shape.

    Raises:
        MergeError: it holds NaN or infinity.
    """
    data, _ = tensor.read(0, tensor.elements)
    values = data.to(work_dtype(tensor.dtype)).reshape(tensor.shape)
    if not all_finite(values):
        raise MergeError(
            f"{tensor.path}: tensor {tensor.name} holds NaN or infinity; train or save the adapter "
            f"again."
        )
    return values


def open_adapter(folder: Path) -> Adapter:
    """Open an adapter folder and sort its tensors by what they do.

    Raises:
        MergeError: files are missing or broken, a tensor's meaning is not known, two tensors say
            different things of one, or there is none.
    """
    config = read_lora_config(folder)
    path = adapter_file(folder)
    entries = read_header(path) if path.suffix == ".safetensors" else read_bin_header(path)
    descriptor = os.open(path, os.O_RDONLY)
    adapter = Adapter(folder, path, config, descriptor=descriptor)
    try:
        _sort(
            adapter,
            {
                key: StoredTensor(key, entry.dtype, entry.shape, path, descriptor, entry.offset)
                for key, entry in entries.items()
            },
        )
    except BaseException:
        adapter.close()
        raise
    return adapter


def adapter_file(folder: Path) -> Path:
    """Return the file with an adapter's tensors, the one that peft takes.

    Raises:
        MergeError: there is none.
    """
    for name in (ADAPTER_FILE, ADAPTER_BIN):
        if (folder / name).is_file():
            return folder / name
    if found := sorted(folder.glob("*.gguf")):
        raise MergeError(f"{found[0]} is GGUF; give the adapter that it was converted from.")
    raise MergeError(
        f"{folder / ADAPTER_FILE} is missing; save the adapter with peft's save_pretrained."
    )


def _sort(adapter: Adapter, stored: Mapping[str, StoredTensor]) -> None:
    roles: dict[str, dict[str, StoredTensor]] = {}
    names = set()
    for key, tensor in stored.items():
        if tensor.dtype not in FLOATS:
            raise MergeError(
                f"{tensor.path} stores {key} as {tensor.dtype}, which is no type of weights here; "
                f"save the adapter in float32, float16 or bfloat16."
            )
        parsed = parse_key(key)
        if parsed is None:
            raise NotStreamedError(
                f"{tensor.path}: tensor {key} belongs to a LoRA variant that is not a plain "
                f"W + s·B·A"
            )
        if parsed.role == "original":
            continue
        if parsed.adapter:
            names.add(parsed.adapter)
        own = roles.setdefault(parsed.target, {})
        _check_same(tensor, own.setdefault(parsed.role, tensor), parsed.target)
    if len(names) > 1:
        raise MergeError(
            f"{adapter.path} holds several adapters ({', '.join(sorted(names))}); save the one "
            f"that is meant by itself."
        )
    if not roles:
        raise MergeError(
            f"{adapter.path} holds no trained tensors, so it would change nothing; save the "
            f"adapter again (under DeepSpeed ZeRO-3 or FSDP, gather the weights first)."
        )
    for target, own in roles.items():
        _place(adapter, target, own)
    _check_one_update(adapter)


def _check_same(one: StoredTensor, other: StoredTensor, target: str) -> None:
    if not same_values(one, other):
        raise MergeError(
            f"{one.path}: {other.name} and {one.name} both stand for {target} and differ; save the "
            f"adapter again with peft's save_pretrained."
        )


def _place(adapter: Adapter, target: str, own: dict[str, StoredTensor]) -> None:
    """Put the tensors of one target, by their roles, where they belong."""
    weight = f"{target}.weight"
    if factors := {role: own[role] for role in own if role.startswith("lora_")}:
        module = _WRAPPED.sub("", target)
        stacked = _is_stacked(adapter.config, module, factors)
        if module != target or stacked or adapter.config.targets_parameter_of(module):
            adapter.parameters.append(ParameterFactors(module, *_two(target, factors)))
        else:
            adapter.factors[weight] = _pair(adapter, target, factors)
    if "magnitude" in own:
        adapter.magnitudes[weight] = own["magnitude"]
    if "bias update" in own:
        adapter.bias_updates[f"{target}.bias"] = own["bias update"]
    if "token rows" in own:
        rows = TokenRows(_indices(adapter, target), own["token rows"])
        adapter.tokens[weight] = rows
    copy, in_place = own.get("copy"), own.get("in place")
    if copy and in_place:
        _check_same(in_place, copy, target)
    if whole := copy or in_place:
        adapter.replaced[target] = whole
        if copy or adapter.config.saves(target):
            adapter.copies.add(target)


def _is_stacked(config: LoraConfig, module: str, factors: Mapping[str, StoredTensor]) -> bool:
    """Return whether a module's weight is named as a parameter and has factors of many experts."""
    rank = config.rank_of(module)
    named = any(f".{module}.weight".endswith(f".{each}") for each in config.target_parameters)
    return named and "lora_A" in factors and factors["lora_A"].shape[:1] != (rank,)


def _check_one_update(adapter: Adapter) -> None:
    """Check that no tensor is changed in two ways that do not add up."""
    for name in adapter.magnitudes:
        if name not in adapter.factors or is_of_embedding(adapter.factors[name][0]):
            raise NotStreamedError(
                f"{adapter.path}: {name} has DoRA's magnitudes but no factors of a linear layer"
            )
    if adapter.config.raw.get("use_dora") and set(adapter.factors) - set(adapter.magnitudes):
        missing = min(set(adapter.factors) - set(adapter.magnitudes))
        raise MergeError(
            f"{adapter.path} lacks DoRA's magnitudes of {missing}, though use_dora is set; save "
            f"the adapter again."
        )
    for name in [*adapter.factors, *adapter.tokens]:
        ways = [
            what
            for what, held in (
                ("a LoRA update", adapter.factors),
                ("trained token rows", adapter.tokens),
                ("a trained copy", adapter.copies),
            )
            if name in held
        ]
        if len(ways) > 1:
            raise NotStreamedError(f"{adapter.path}: {name} has {' and '.join(ways)}")


def is_of_embedding(factor: StoredTensor) -> bool:
    """Return whether a factor updates an embedding, whose factors are turned."""
    return ".lora_embedding_" in factor.name


def _pair(
    adapter: Adapter, module: str, pair: Mapping[str, StoredTensor]
) -> tuple[StoredTensor, StoredTensor, bool]:
    """Return A, B and whether the stored weight is `(B·A)ᵀ`."""
    a, b = _two(module, pair)
    rank = adapter.config.rank_of(module)
    if len(a.shape) != _FLAT or len(b.shape) != _FLAT:
        raise NotStreamedError(
            f"{a.path}: the factors of {module} have shapes {list(a.shape)} and {list(b.shape)}, "
            f"those of a layer that is not linear"
        )
    if not a.shape[0] == b.shape[1] == rank:
        raise MergeError(
            f"{a.path}: the factors of {module} have shapes {list(a.shape)} and {list(b.shape)} "
            f"where the configuration says rank {rank}; save the adapter again."
        )
    return a, b, adapter.config.fan_in_fan_out or "lora_embedding_A" in pair


def _two(module: str, pair: Mapping[str, StoredTensor]) -> tuple[StoredTensor, StoredTensor]:
    """Return A and B of a module."""
    for names in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
        if set(pair) == set(names):
            return pair[names[0]], pair[names[1]]
    path = next(iter(pair.values())).path
    raise MergeError(f"{path}: {module} has {sorted(pair)} only; save the adapter again.")


def _indices(adapter: Adapter, module: str) -> list[int]:
    trained = adapter.config.trainable_tokens
    if isinstance(trained, list):
        return trained
    matching = [rows for name, rows in trained.items() if module.endswith(name)]
    if len(matching) != 1:
        raise MergeError(
            f"{adapter.folder}: trainable_token_indices does not say which rows of {module} were "
            f"trained; save the adapter again."
        )
    return matching[0]
