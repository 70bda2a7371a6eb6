"""DARE in place of trimming, then TIES' election."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled
from merge.methods.math.random_drop import DROP_RATE, drop
from merge.methods.math.sign_election import elect_and_average
from merge.methods.method import Method, Parameter, Values

if TYPE_CHECKING:
    import torch


class DareTies(Method):
    """`θ = θ_base + λ·mean of the agreeing entries of DARE_p(θᵢ - θ_base)`.

    DARE (Yu et al. 2023, 2311.03099) drops entries with probability p and divides the rest by 1-p;
    signs are elected and averaged as in TIES (Yadav et al. 2023, 2306.01708).
    """

    name = "dare-ties"
    lambda_range = (float("-inf"), float("inf"))
    default_lambda = 1.0
    parameters: ClassVar = {
        "drop_rate": DROP_RATE,
        "weight": Parameter("weight of the model's delta", default=1.0, per_model=True),
        "normalize": Parameter(
            "1 divides by the agreeing weights; default 1 for several models, 0 for one",
            default=-1.0,
            low=-1.0,
            high=1.0,
        ),
    }

    def merge(
        self,
        block: Block,
        values: Values,
        lambdas: Sequence[float],
        totals: "list[torch.Tensor]",
    ) -> "Iterator[torch.Tensor]":
        """Yield the merge at each λ; all share one random mask."""
        del totals
        rates = values.each("drop_rate")
        # The first model's 1-p is a factor of the result, where it is rounded once with λ; another
        # model with the same p then needs no rescaling of its own.
        common = 1.0 - rates[0]
        deltas = [drop(block, number, rate) for number, rate in enumerate(rates)]
        deltas = [
            delta if rate == rates[0] else scaled(delta, common / (1.0 - rate))
            for delta, rate in zip(deltas, rates, strict=True)
        ]
        normalize = len(deltas) > 1 if values["normalize"] < 0 else bool(values["normalize"])
        delta = elect_and_average(deltas, values.each("weight"), normalize=normalize)
        for scale in lambdas:
            yield scaled(delta, scale / common).add_(block.base)
