"""Linear interpolation between the base and the fine-tuned models."""

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import no_mean, scaled, share_of, weighted_sum
from merge.methods.method import Coefficients, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register


class Divided(Parameters):
    """What the fine-tuned models' sum is divided by."""

    normalize: bool = Field(True, description="divide by the weights' sum, which makes it a mean")


class Shares(Parameters):
    """What each fine-tuned model may have of its own."""

    weight: float = Field(1.0, description="share in the fine-tuned models' mean")


@register
class Linear(Method):
    """`θ = (1-λ)·θ_base + λ·mean(θ_tuned)`, as Farn et al. 2024 (2412.19512) merge.

    λ is the weight of the fine-tuned side: 0 is the base, 1 the fine-tuned model. Several
    fine-tuned models are averaged first, by their weights (WiSE-FT, 2109.01903, is the case of one;
    model soups, 2203.05482, the case of several at λ = 1). Without `normalize` their weighted sum
    takes the mean's place.
    """

    name = "linear"
    starts_at_base = True
    parameters = Divided
    model_parameters = Shares

    def check(self, tuned: int, values: Values) -> str | None:
        """Weights have to have a sum, if it is divided by."""
        del tuned
        return no_mean(values.each("weight")) if values["normalize"] else None

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the interpolation at each λ."""
        del totals
        weights = values.each("weight")
        # The deltas' mean is not formed: λ and its divisor are one factor, and one rounding.
        delta = weighted_sum(block.deltas, weights)
        share = share_of(weights, normalize=values["normalize"])
        # What the weights lack or exceed 1 by, without the division, is the base's.
        excess = sum(weights) / share - 1
        for scale in lambdas:
            if scale == 1 and len(weights) == 1 and weights[0] == share:
                yield block.tuned[0]
            else:
                yield scaled(delta, scale / share).add_(
                    scaled(block.base, 1 + scale * excess) if excess else block.base
                )

    def coefficients(self, values: Values, scale: float) -> Coefficients | None:
        """Return the weights' shares times λ; a sum that is no mean scales the base too."""
        weights = values.each("weight")
        if not values["normalize"] and sum(weights) != 1:
            return None
        return Coefficients([scale * weight / sum(weights) for weight in weights])
