"""DARE in place of trimming, then TIES' election."""

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled
from merge.methods.math.random_drop import Dropped, Rescaling, drop
from merge.methods.math.sign_election import Election, elect_and_average
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.registry import register


class DroppedElection(Election, Rescaling):
    """How the entries that are kept are rescaled, and elected."""


class DroppedWeights(Dropped):
    """What each fine-tuned model may have of its own."""

    weight: float = Field(1.0, description="weight of the model's delta")


@register
class DareTies(Method):
    """`θ = θ_base + λ·mean of the agreeing entries of DARE_p(θᵢ - θ_base)`.

    DARE (Yu et al. 2023, 2311.03099) drops entries with probability p and divides the rest by 1-p;
    signs are elected and averaged as in TIES (Yadav et al. 2023, 2306.01708).
    """

    name = "dare-ties"
    starts_at_base = True
    lambda_range = (float("-inf"), float("inf"))
    default_lambda = 1.0
    parameters = DroppedElection
    model_parameters = DroppedWeights

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the merge at each λ; all share one random mask."""
        del totals
        rates = values.each("drop_rate")
        kept = [1.0 - rate if values["rescale"] else 1.0 for rate in rates]
        # The first model's 1-p is a factor of the result, where it is rounded once with λ; another
        # model with the same p then needs no rescaling of its own.
        common = kept[0]
        deltas = [drop(block, number, rate) for number, rate in enumerate(rates)]
        deltas = [
            delta if part == common else scaled(delta, common / part)
            for delta, part in zip(deltas, kept, strict=True)
        ]
        normalize = len(deltas) > 1 if values["normalize"] is None else values["normalize"]
        delta = elect_and_average(deltas, values.each("weight"), normalize=normalize)
        for scale in lambdas:
            yield scaled(delta, scale / common).add_(block.base)

    def keeps_base(self, values: Values) -> bool:
        """Of deltas that are zero nothing is left, whatever is dropped."""
        del values
        return True
