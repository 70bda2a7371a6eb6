"""Arithmetic that rounds once where several roundings would show in the output."""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def scaled(values: "torch.Tensor", factor: float) -> "torch.Tensor":
    """Return `factor·values` with the factor's float64 value, also of float32 values.

    Weights such as 0.9 are not float32 numbers. The merged values often lie close to the middle of
    two bfloat16 neighbours, and there the factor's own rounding decides to which side they go: with
    a float32 factor up to 1 % of them go to the wrong one.
    """
    import torch

    if values.dtype == torch.float64:
        return values * factor
    high = float(struct.unpack("f", struct.pack("f", factor))[0])
    product = values * high
    low = factor - high
    return product.add_(values, alpha=low) if low else product


def weighted_sum(tensors: "Sequence[torch.Tensor]", weights: Sequence[float]) -> "torch.Tensor":
    """Return `Σ wᵢ·xᵢ`; for one tensor of weight 1, the tensor itself."""
    if len(tensors) == 1 and weights[0] == 1:
        return tensors[0]
    total = scaled(tensors[0], weights[0])
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total.add_(tensor if weight == 1 else scaled(tensor, weight))
    return total


def share_of(weights: Sequence[float], *, normalize: bool) -> float:
    """Return what a weighted sum is divided by: the weights' sum, or 1; 1 if all are zero."""
    return sum(weights) if normalize and any(weights) else 1.0


def no_mean(weights: Sequence[float]) -> str | None:
    """Return what is wrong with weights that cancel, by whose sum nothing can be divided."""
    if sum(weights) != 0:
        return None
    listed = ", ".join(f"{weight:g}" for weight in weights)
    return f"the weights {listed} add up to 0, so there is no mean; change one of them"
