"""LoRA on the parameter that holds all experts of a layer (peft's `target_parameters`).

peft keeps the factors of E experts in one pair: the rows of A `[E·r, in]` lie expert by expert, and
in the columns of B `[out, r·E]` the experts alternate.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from merge.formats.stored_tensor import StoredTensor
from merge.lora.updates import LowRank, Stacked

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ParameterFactors:
    """A and B of a module's parameter that the file does not name.

    Attributes:
        module: the module, by its trainer's name.
        a, b: the factors.
    """

    module: str
    a: StoredTensor
    b: StoredTensor


@dataclass(frozen=True)
class ExpertFactors:
    """What A and B of experts mean for one tensor of the base.

    Attributes:
        a, b: the factors of all experts.
        experts: how many there are.
        scale: s in `W + s·B·A`.
        transposed: whether the tensor is stored as `[experts, in, out]`.
        expert: whose tensor it is, where each has its own; None for all in one.
        first, rows: the rows of B that belong to it, where several are one in memory; all if 0.
    """

    a: StoredTensor
    b: StoredTensor
    experts: int
    scale: float
    transposed: bool = False
    expert: int | None = None
    first: int = 0
    rows: int = 0

    def update(self, a: "torch.Tensor", b: "torch.Tensor") -> LowRank | Stacked:
        """Return the update, given the values of both factors."""
        if self.expert is not None:
            return self._one(a, b, self.expert)
        return Stacked([self._one(a, b, number) for number in range(self.experts)])

    def _one(self, a: "torch.Tensor", b: "torch.Tensor", number: int) -> LowRank:
        rank = a.shape[0] // self.experts
        left = b[:, number :: self.experts]
        if self.rows:
            left = left[self.first : self.first + self.rows]
        right = a[number * rank : (number + 1) * rank]
        if self.transposed:
            left, right = right.T, left.T
        return LowRank(left.contiguous(), right.contiguous(), self.scale)
