"""DARE, then linear interpolation."""

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import no_mean, scaled, share_of, weighted_sum
from merge.methods.math.random_drop import Dropped, Rescaling, drop
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.registry import register


class Mean(Rescaling):
    """How deltas are added up."""

    normalize: bool = Field(True, description="take the deltas' mean, and not their sum")


class DroppedShares(Dropped):
    """What each fine-tuned model may have of its own."""

    weight: float = Field(1.0, description="share in the deltas' mean")


@register
class DareLinear(Method):
    """`θ = θ_base + λ·mean(DARE_p(θᵢ - θ_base))`, Yu et al. 2023 (2311.03099).

    p is the drop rate: each entry of a delta is kept with probability 1-p and divided by 1-p.
    """

    name = "dare-linear"
    starts_at_base = True
    lambda_range = (float("-inf"), float("inf"))
    default_lambda = 1.0
    parameters = Mean
    model_parameters = DroppedShares

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the interpolation at each λ; all share one random mask."""
        del totals
        weights, rates = values.each("weight"), values.each("drop_rate")
        dropped = [drop(block, number, rate) for number, rate in enumerate(rates)]
        share = share_of(weights, normalize=values["normalize"])
        factor = 1.0 / share
        kept = [1.0 - rate if values["rescale"] else 1.0 for rate in rates]
        if len(dropped) == 1:
            # One factor for weight, λ and 1-p, so that the result is rounded once.
            factor, weights = weights[0] / (share * kept[0]), [1.0]
        else:
            weights = [weight / part for weight, part in zip(weights, kept, strict=True)]
        delta = weighted_sum(dropped, weights)
        for scale in lambdas:
            yield scaled(delta, scale * factor).add_(block.base)

    def keeps_base(self, values: Values) -> bool:
        """Of a delta that is zero nothing is left, whatever is dropped."""
        del values
        return True

    def check(self, tuned: int, values: Values) -> str | None:
        """Weights that are divided by their sum have to have one, or all be zero."""
        del tuned
        weights = values.each("weight")
        return no_mean(weights) if values["normalize"] and any(weights) else None
