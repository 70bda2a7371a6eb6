"""Nearswap: take over what a model has where it is close to the base."""

from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch

# As in mergekit, smaller differences count as this large.
_SMALLEST = 1e-6


class Nearness(Parameters):
    """How close is close."""

    t: float = Field(ge=0.0, description="difference up to which a weight is taken over whole")


@register
class Nearswap(Method):
    """`θ = θ_base + min(1, t/|δ|)·δ`, `δ = θ_tuned - θ_base`: no entry changes by more than t.

    mergekit's (alchemonaut/QuartetAnemoi-70B-t0.0001 on the Hub). As there, differences below 1e-6
    count as 1e-6 in the divisor.
    """

    name = "nearswap"
    tuned = (1, 1)
    takes_lambda = False
    parameters = Nearness

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the one result."""
        del lambdas, totals
        yield nearswap(block.deltas[0], values["t"]).add_(block.base)


def nearswap(delta: "torch.Tensor", t: float) -> "torch.Tensor":
    """Return how much of each difference is taken over."""
    import torch

    shares = scaled(delta.abs().clamp_(min=_SMALLEST).reciprocal_(), t).clamp_(max=1.0)
    return torch.mul(shares, delta, out=shares)
