"""The bits of floating-point numbers, where comparing them would be slower."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def float_bits(values: "torch.Tensor") -> "torch.Tensor":
    """Return the same memory as integers: int32 for float32, int64 for float64."""
    import torch

    return values.view(torch.int64 if values.dtype == torch.float64 else torch.int32)


def nonzero(values: "torch.Tensor") -> "torch.Tensor":
    """Return 1.0 where a value is not zero and 0.0 where it is, without slow comparisons."""
    import torch

    bits = float_bits(values)
    return bits.bitwise_and(torch.iinfo(bits.dtype).max).clamp_(max=1).to(values.dtype)
