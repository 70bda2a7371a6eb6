"""LoRA adapters as inputs: a base model's tensors with the update added as they are read.

The update of a weight is `s·B·A` with B `[out, r]` and A `[in, r]ᵀ` (Hu et al. 2021, 2106.09685),
computed in float32 for the rows that are asked for. No merged copy is made anywhere. What an
adapter replaces instead of updating (`modules_to_save`, trained biases, trained tokens' rows) is
taken as weights.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from merge.errors import MergeError
from merge.formats.finite_values import all_finite
from merge.formats.safetensors import read_header
from merge.formats.stored_tensor import StoredTensor
from merge.lora.adapter_config import LoraConfig, read_lora_config
from merge.lora.updates import DenseUpdate, LowRank, RowUpdate, Update

if TYPE_CHECKING:
    import torch

ADAPTER_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
# Wrappers that peft leaves in the names of the modules it replaced.
_WRAPPERS = re.compile(r"\.(base_layer|modules_to_save|original_module)(?=\.)")
_FACTORS = re.compile(r"\.(lora_A\.weight|lora_B\.weight|lora_embedding_A|lora_embedding_B)$")
_TOKENS = ".token_adapter.trainable_tokens_delta"
_LORA_BIAS = ".lora_B.bias"


@dataclass
class TokenRows:
    """Rows of an embedding that an adapter replaces."""

    indices: list[int]
    rows: StoredTensor


@dataclass
class Adapter:
    """An opened LoRA adapter.

    Attributes:
        factors: names of A and B (or of both embedding factors), by the weight they update.
        replaced: full tensors that take the place of the base's, by the base's names.
        tokens: rows that take the place of the base's, by the embedding's name.
        bias_updates: LoRA's own bias on B, by the name of the layer's bias.
    """

    folder: Path
    config: LoraConfig
    tensors: dict[str, StoredTensor]
    factors: dict[str, tuple[StoredTensor, StoredTensor, bool]] = field(default_factory=dict)
    replaced: dict[str, StoredTensor] = field(default_factory=dict)
    tokens: dict[str, TokenRows] = field(default_factory=dict)
    bias_updates: dict[str, StoredTensor] = field(default_factory=dict)
    descriptor: int = -1

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def updates(self, name: str) -> bool:
        """Whether the adapter adds something to this tensor of the base."""
        return name in self.factors or name in self.bias_updates or name in self.tokens

    def read_update(self, name: str, base: StoredTensor) -> Update:
        """Read what the adapter adds to one tensor."""
        if name in self.factors:
            return self.low_rank(name)
        if name in self.tokens:
            return self.token_rows(self.tokens[name], base)
        scale = self.config.scale_of(name.removesuffix(".bias"))
        return DenseUpdate(load(self.bias_updates[name]) * scale)

    def low_rank(self, name: str) -> LowRank:
        """Read the factors of one weight's update."""
        a, b, transposed = self.factors[name]
        left, right = load(b), load(a)
        if transposed:
            left, right = right.T.contiguous(), left.T.contiguous()
        return LowRank(left, right, self.config.scale_of(name.removesuffix(".weight")))

    def token_rows(self, tokens: TokenRows, base: StoredTensor) -> RowUpdate:
        """Read trained rows, as their difference to the base's."""
        import torch

        columns = base.shape[1]
        before = [
            base.read(index * columns, (index + 1) * columns)[0].to(torch.float32)
            for index in tokens.indices
        ]
        return RowUpdate(tokens.indices, load(tokens.rows) - torch.stack(before))


def load(tensor: StoredTensor) -> "torch.Tensor":
    """Read a whole small tensor in float32, in its own shape.

    Raises:
        MergeError: it holds NaN or infinity.
    """
    import torch

    data, _ = tensor.read(0, tensor.elements)
    values = data.to(torch.float32).reshape(tensor.shape)
    if not all_finite(values):
        raise MergeError(
            f"{tensor.path}: tensor {tensor.name} holds NaN or infinity; train or save the adapter "
            f"again."
        )
    return values


def open_adapter(folder: Path) -> Adapter:
    """Open an adapter folder and sort its tensors by what they do.

    Raises:
        MergeError: files are missing or broken, or a tensor's meaning is not known.
    """
    config = read_lora_config(folder)
    path = folder / ADAPTER_FILE
    if not path.is_file():
        raise MergeError(f"{path} is missing; save the adapter with peft's save_pretrained.")
    entries = read_header(path)
    descriptor = os.open(path, os.O_RDONLY)
    tensors = {
        name: StoredTensor(name, entry.dtype, entry.shape, path, descriptor, entry.offset)
        for name, entry in entries.items()
    }
    adapter = Adapter(folder, config, tensors, descriptor=descriptor)
    _sort(adapter)
    return adapter


def _sort(adapter: Adapter) -> None:
    halves: dict[str, dict[str, StoredTensor]] = {}
    for key, tensor in adapter.tensors.items():
        name = _WRAPPERS.sub("", key.removeprefix(PREFIX))
        if factor := _FACTORS.search(name):
            halves.setdefault(name[: factor.start()], {})[factor[1]] = tensor
        elif name.endswith(_LORA_BIAS):
            adapter.bias_updates[name.removesuffix(_LORA_BIAS) + ".bias"] = tensor
        elif name.endswith(_TOKENS):
            module = name.removesuffix(_TOKENS)
            adapter.tokens[f"{module}.weight"] = TokenRows(_indices(adapter, module), tensor)
        elif ".lora_" in name:
            raise MergeError(
                f"{tensor.path}: tensor {key} belongs to a LoRA variant (DoRA and others) that is "
                f"not a plain W + s·B·A; merge it with peft's merge_and_unload and give the full "
                f"checkpoint."
            )
        else:
            adapter.replaced[name] = tensor
    for module, pair in halves.items():
        adapter.factors[f"{module}.weight"] = _pair(adapter, module, pair)


def _pair(
    adapter: Adapter, module: str, pair: Mapping[str, StoredTensor]
) -> tuple[StoredTensor, StoredTensor, bool]:
    """Return A, B and whether the stored weight is `(B·A)ᵀ`."""
    for a_name, b_name, transposed in (
        ("lora_A.weight", "lora_B.weight", adapter.config.fan_in_fan_out),
        ("lora_embedding_A", "lora_embedding_B", True),
    ):
        if set(pair) != {a_name, b_name}:
            continue
        a, b = pair[a_name], pair[b_name]
        rank = adapter.config.rank_of(module)
        if len(a.shape) != 2 or len(b.shape) != 2 or not a.shape[0] == b.shape[1] == rank:
            raise MergeError(
                f"{a.path}: the factors of {module} have shapes {list(a.shape)} and "
                f"{list(b.shape)} where the configuration says rank {rank}; save the adapter again."
            )
        return a, b, transposed
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
