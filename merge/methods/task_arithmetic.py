"""Task arithmetic: the base plus any weighted sum of deltas."""

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import no_mean, scaled, share_of, weighted_sum
from merge.methods.method import Coefficients, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register


class Sum(Parameters):
    """How deltas are added up."""

    normalize: bool = Field(False, description="divide by the weights' sum")


class Weights(Parameters):
    """What each fine-tuned model may have of its own."""

    weight: float = Field(1.0, description="weight of the model's delta")


@register
class TaskArithmetic(Method):
    """`θ = θ_base + λ·Σ wᵢ·(θᵢ - θ_base)`, Ilharco et al. 2022 (2212.04089).

    Weights may be negative, which takes a task away. With `normalize` the weights are divided by
    their sum.
    """

    name = "task-arithmetic"
    starts_at_base = True
    lambda_range = (float("-inf"), float("inf"))
    default_lambda = 1.0
    parameters = Sum
    model_parameters = Weights

    def check(self, tuned: int, values: Values) -> str | None:
        """Weights that are divided by their sum have to have one, or all be zero."""
        del tuned
        weights = values.each("weight")
        return no_mean(weights) if values["normalize"] and any(weights) else None

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the sum at each λ."""
        del totals
        weights = values.each("weight")
        delta = weighted_sum(block.deltas, weights)
        share = share_of(weights, normalize=values["normalize"])
        for scale in lambdas:
            yield scaled(delta, scale / share).add_(block.base)

    def coefficients(self, values: Values, scale: float) -> Coefficients:
        """Return the weights times λ."""
        weights = values.each("weight")
        share = share_of(weights, normalize=values["normalize"])
        return Coefficients([scale * weight / share for weight in weights])
