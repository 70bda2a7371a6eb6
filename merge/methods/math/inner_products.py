"""Inner products of tensors: all that methods on spheres need to know of them.

What such a method makes of its inputs is a weighted sum of them, and the weights follow from their
inner products. So the inputs are measured once, and nothing of their size is kept.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def inner_products(tensors: "Sequence[torch.Tensor]") -> "torch.Tensor":
    """Return `[N, N]`, the part that flat blocks have in the inner products, in float64.

    It is computed in float64 too: the angle between a model and its fine-tune is so small that
    float32 would lose half of its digits.
    """
    import torch

    wide = [tensor.double() for tensor in tensors]
    matrix = torch.zeros(len(wide), len(wide), dtype=torch.float64)
    for row, one in enumerate(wide):
        for column, other in enumerate(wide[: row + 1]):
            matrix[row, column] = matrix[column, row] = one.dot(other).cpu()
    return matrix
