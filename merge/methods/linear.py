"""Linear interpolation between the base and the fine-tuned models."""

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import no_mean, scaled, weighted_sum
from merge.methods.method import Coefficients, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register


class Shares(Parameters):
    """What each fine-tuned model may have of its own."""

    weight: float = Field(1.0, description="share in the fine-tuned models' mean")


@register
class Linear(Method):
    """`θ = (1-λ)·θ_base + λ·mean(θ_tuned)`, as Farn et al. 2024 (2412.19512) merge.

    λ is the weight of the fine-tuned side: 0 is the base, 1 the fine-tuned model. Several
    fine-tuned models are averaged first, by their weights (WiSE-FT, 2109.01903, is the case of one;
    model soups, 2203.05482, the case of several at λ = 1).
    """

    name = "linear"
    model_parameters = Shares

    def check(self, tuned: int, values: Values) -> str | None:
        """Weights have to have a sum."""
        del tuned
        return no_mean(values.each("weight"))

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the interpolation at each λ."""
        del totals
        weights = values.each("weight")
        # The deltas' mean is not formed: λ and its divisor are one factor, and one rounding.
        delta = weighted_sum(block.deltas, weights)
        for scale in lambdas:
            if scale == 1 and len(weights) == 1:
                yield block.tuned[0]
            else:
                yield scaled(delta, scale / sum(weights)).add_(block.base)

    def coefficients(self, values: Values, scale: float) -> Coefficients:
        """Return the weights' shares times λ."""
        weights = values.each("weight")
        return Coefficients([scale * weight / sum(weights) for weight in weights])
