"""Outputs in 8-bit floats: compressed-tensors' "float-quantized", which vLLM serves.

The matrices of a language model's layers become codes (E4M3) with one float32 scale for each row,
and an engine quantises activations token by token as they come. Embeddings, heads, norms, routers
and whatever belongs to another part of the model than its layers keep their type.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from merge.formats.dtypes import Array
from merge.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch

FP8 = "fp8"
CODE = "F8_E4M3"
SCALE = "F32"
# The greatest number of E4M3.
_GREATEST = 448.0
_MATRIX = 2
_EXPERTS = 3
_IN_LAYERS = re.compile(r"\.\d+\..*\.weight$")
_KEPT = re.compile(
    r"norm|embed|rotary|conv|vision|visual|audio|image|multi_modal|mm_projector"
    r"|(^|\.)(gate|router|\w*router|shared_expert_gate|wg)\.weight$",
    re.IGNORECASE,
)
# Models whose matrices are stored as `[in, out]`, so that a row is no output.
_TURNED = ("gpt2", "openai-gpt")


class Named(Protocol):
    """Something with a tensor's name and shape."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""


@dataclass(frozen=True)
class RowScales(Array):
    """The scales that a matrix of codes has in a file."""

    name: str
    shape: tuple[int, ...]
    dtype: str = SCALE


def row_scales(matrix: Named) -> RowScales:
    """Return the scales of a matrix's rows, `[rows, 1]`."""
    return RowScales(f"{matrix.name}_scale", (matrix.shape[0], 1))


def is_scaled(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a tensor is one that becomes codes and scales."""
    return len(shape) == _MATRIX and bool(_IN_LAYERS.search(name)) and not _KEPT.search(name)


def fp8_problems(main: Checkpoint, tensors: Iterable[Named]) -> list[str]:
    """Return why a model cannot be written in 8-bit floats."""
    if main.config.get("model_type") in _TURNED:
        return [
            f"{main.folder} stores its matrices as [in, out], which no engine serves in fp8; write "
            f"--dtype bfloat16"
        ]
    tensors = list(tensors)
    stacked = [t.name for t in tensors if len(t.shape) == _EXPERTS and "experts" in t.name]
    if stacked:
        return [
            f"{main.folder} holds all experts of a layer in {stacked[0]}, and fp8 needs a tensor "
            f"for each; write --dtype bfloat16"
        ]
    if not any(is_scaled(tensor.name, tensor.shape) for tensor in tensors):
        return [f"{main.folder} has no matrices in layers that fp8 is for; write --dtype bfloat16"]
    return []


def quantization_config(kept: Iterable[Named]) -> dict[str, Any]:
    """Return what a configuration says of such a model, given the tensors that keep their type."""
    names = [
        tensor.name.removesuffix(".weight")
        for tensor in kept
        if len(tensor.shape) == _MATRIX and tensor.name.endswith(".weight")
    ]
    eight = {"num_bits": 8, "type": "float", "symmetric": True}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {**eight, "strategy": "channel", "dynamic": False},
                "input_activations": {**eight, "strategy": "token", "dynamic": True},
            }
        },
        # A tied head is in no file.
        "ignore": list(dict.fromkeys([*names, "lm_head"])),
    }


def quantise_rows(values: "torch.Tensor", columns: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return whole rows as codes, flat, and their scales, `[rows]` in float32.

    A row's greatest magnitude becomes the greatest code; the scale of a row of zeros is 1.
    """
    import torch

    rows = values.to(torch.float32).reshape(-1, columns)
    scales = rows.abs().amax(dim=1) / _GREATEST
    scales[scales == 0] = 1.0
    codes = (rows / scales.unsqueeze(1)).clamp_(-_GREATEST, _GREATEST)
    return codes.to(torch.float8_e4m3fn).reshape(-1), scales
