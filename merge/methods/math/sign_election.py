"""The last two steps of TIES: elect a sign for each entry, and average those who have it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.math.arithmetic import scaled
from merge.methods.math.float_bits import float_bits, nonzero
from merge.methods.parameters import Parameters

if TYPE_CHECKING:
    import torch

_SMALLEST = 2.0**-126


class Election(Parameters):
    """How the deltas that agree are averaged."""

    normalize: bool | None = Field(
        None, description="divide by the agreeing weights; else for several models and not for one"
    )


def elect_and_average(
    deltas: "Sequence[torch.Tensor]", weights: Sequence[float], *, normalize: bool
) -> "torch.Tensor":
    """Return, for each entry, what the deltas that agree with the elected sign say.

    The sign is that of the weighted deltas' sum (Yadav et al. 2023, 2306.01708, eq. 2-3), positive
    if they cancel. Entries that are zero take no part.

    Args:
        deltas: trimmed deltas, one for each model.
        weights: one for each model.
        normalize: divide by the weights of the models that agree: their mean instead of their sum.
    """
    import torch

    weighted = [
        delta if weight == 1 else scaled(delta, weight)
        for delta, weight in zip(deltas, weights, strict=True)
    ]
    sign = weighted[0].clone()
    for delta in weighted[1:]:
        sign.add_(delta)
    elected = float_bits(sign)
    sign_bit = 8 * elected.element_size() - 1
    total = torch.zeros_like(sign)
    share = torch.zeros_like(sign)
    for delta, weight in zip(weighted, weights, strict=True):
        agrees = elected.bitwise_xor(float_bits(delta)).bitwise_right_shift_(sign_bit)
        # All bits set where the signs are equal.
        agreeing = agrees.bitwise_not_().bitwise_and_(float_bits(delta)).view(delta.dtype)
        total.add_(agreeing)
        if normalize:
            share.add_(nonzero(agreeing), alpha=abs(weight))
    return total.div_(share.clamp_(min=_SMALLEST)) if normalize else total
