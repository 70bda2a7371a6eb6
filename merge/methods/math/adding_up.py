"""How deltas become one: their weighted sum, their mean, or what those say that agree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.math.arithmetic import scaled, share_of, weighted_sum
from merge.methods.math.sign_election import elect_and_average
from merge.methods.parameters import Parameters

if TYPE_CHECKING:
    import torch


class Thinned(Parameters):
    """What each fine-tuned model may have of its own where part of its delta is kept."""

    weight: float = Field(1.0, description="weight of the model's delta")
    density: float = Field(
        1.0, ge=0.0, le=1.0, description="share of a delta's entries that are kept"
    )


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
