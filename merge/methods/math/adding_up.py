"""How deltas become one: their weighted sum, their mean, or what those say that agree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import no_mean, scaled, share_of, weighted_sum
from merge.methods.math.sign_election import elect_and_average
from merge.methods.method import Lambdas, Method, Outputs, Values
from merge.methods.parameters import Parameters

if TYPE_CHECKING:
    import torch


Normalize = Annotated[bool, Field(description="divide by the weights of what is added up")]
Rescale = Annotated[bool, Field(description="scale what is kept back to the delta's L1 length")]


class Thinned(Parameters):
    """What each fine-tuned model may have of its own where part of its delta is kept."""

    weight: float = Field(1.0, description="weight of the model's delta")
    density: float = Field(
        1.0, ge=0.0, le=1.0, description="share of a delta's entries that are kept"
    )


class SumOfKeptParts(Method):
    """Methods that keep a part of each delta; they have `Normalize` and `Rescale` as parameters.

    Attributes:
        elects: whether only those entries are added up that have the elected sign, as in TIES.
    """

    starts_at_base = True
    lambda_range = (float("-inf"), float("inf"))
    default_lambda = 1.0
    elects: ClassVar[bool] = False

    def check(self, tuned: int, values: Values) -> str | None:
        """Weights that are divided by their sum have to have one, or all be zero."""
        del tuned
        weights = values.each("weight")
        divided = values["normalize"] and not self.elects and any(weights)
        return no_mean(weights) if divided else None

    def added_up(
        self, kept: "Sequence[torch.Tensor]", block: Block, values: Values, lambdas: Lambdas
    ) -> Outputs:
        """Yield the base and the sum of what is kept of the deltas, at each λ."""
        delta = add_up(
            kept, values.each("weight"), elect=self.elects, normalize=values["normalize"]
        )
        for scale in lambdas:
            yield scaled(delta, scale).add_(block.base)


def add_up(
    deltas: "Sequence[torch.Tensor]", weights: Sequence[float], *, elect: bool, normalize: bool
) -> "torch.Tensor":
    """Return the deltas' weighted sum, where `elect` of those entries that have its sign.

    With `normalize` it is divided by the weights of what is summed up.
    """
    if elect:
        return elect_and_average(deltas, weights, normalize=normalize)
    return scaled(weighted_sum(deltas, weights), 1.0 / share_of(weights, normalize=normalize))


def same_l1(kept: "torch.Tensor", before: float, after: float) -> "torch.Tensor":
    """Return what is kept of a delta, scaled back to the length it had.

    As in mergekit, nothing is scaled if one of the lengths is below 1e-7.

    Args:
        kept: the delta with zeros where it was dropped.
        before: the sum of the delta's magnitudes, over the whole tensor.
        after: that of what is kept.
    """
    shortest = 1e-7
    if before < shortest or after < shortest:
        return kept
    return scaled(kept, before / after)
