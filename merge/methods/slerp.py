"""Spherical linear interpolation."""

import math
from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled, weighted_sum
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch

# Beyond this cosine the two directions are one to working precision.
_PARALLEL = 0.9995


class Ends(Parameters):
    """What is interpolated."""

    on_deltas: bool = Field(
        False, description="interpolate two models' deltas, and not base and model"
    )


@register
class Slerp(Method):
    """`θ = sin((1-λ)Ω)/sinΩ·a + sin(λΩ)/sinΩ·b`, Ω the angle between a and b in each tensor.

    a and b are the base's and the fine-tuned model's weights (Shoemake 1985; as used by Farn et al.
    2024, 2412.19512). Where |cosΩ| > 0.9995 the tensor is interpolated linearly, which is what
    happens to most tensors of a fine-tune; the report counts them. With `on_deltas` a and b are the
    deltas of two fine-tuned models, and the base is added again. The ends are the inputs, to the
    bit.
    """

    name = "slerp"
    tuned = (1, 2)
    passes = 1
    parameters = Ends

    def check(self, tuned: int, values: Values) -> str | None:
        """One fine-tuned model on weights, two on deltas."""
        wanted = 2 if values["on_deltas"] else 1
        if tuned == wanted:
            return None
        where = "deltas" if values["on_deltas"] else "weights"
        return f"slerp on {where} takes {wanted} --tuned, the recipe has {tuned}; see --on"

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return `[a·a, b·b, a·b]`."""
        import torch

        del totals
        a, b = _ends(block, values)
        return torch.stack([a.dot(a), b.dot(b), a.dot(b)]).double().cpu()

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the interpolation at each λ."""
        a, b = _ends(block, values)
        ends = block.tuned if values["on_deltas"] else [block.base, block.tuned[0]]
        cosine = _cosine(totals[0])
        for scale in lambdas:
            if scale in (0, 1):
                yield ends[int(scale)]
                continue
            if abs(cosine) > _PARALLEL:
                mixed = scaled(b - a, scale).add_(a)
            else:
                angle = math.acos(cosine)
                shares = [math.sin((1 - scale) * angle), math.sin(scale * angle)]
                mixed = weighted_sum([a, b], [share / math.sin(angle) for share in shares])
            yield mixed.add_(block.base) if values["on_deltas"] else mixed

    def report(self, values: Values, totals: Totals) -> str | None:
        """Count the tensors that were interpolated linearly."""
        del values
        parallel = abs(_cosine(totals[0])) > _PARALLEL
        return "tensors interpolated linearly" if parallel else "tensors interpolated on the sphere"


def _ends(block: Block, values: Values) -> "tuple[torch.Tensor, torch.Tensor]":
    if values["on_deltas"]:
        return block.deltas[0], block.deltas[1]
    return block.base, block.tuned[0]


def _cosine(sums: "torch.Tensor") -> float:
    """Return the cosine; 1 where one side is zero, which has no direction."""
    aa, bb, ab = sums.tolist()
    norm = math.sqrt(aa) * math.sqrt(bb)
    return max(-1.0, min(1.0, ab / norm)) if norm > 0 else 1.0
