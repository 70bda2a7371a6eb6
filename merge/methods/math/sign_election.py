"""The last two steps of TIES: elect a sign for each entry, and average those who have it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.math.arithmetic import scaled
from merge.methods.parameters import Parameters

if TYPE_CHECKING:
    import torch

_SIGN_BIT = 31
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
        deltas: trimmed deltas, float32, one for each model.
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
    elected = sign.view(torch.int32)
    total = torch.zeros_like(sign)
    share = torch.zeros_like(sign)
    for delta, weight in zip(weighted, weights, strict=True):
        agrees = elected.bitwise_xor(delta.view(torch.int32)).bitwise_right_shift_(_SIGN_BIT)
        # All bits set where the signs are equal.
        agreeing = agrees.bitwise_not_().bitwise_and_(delta.view(torch.int32)).view(torch.float32)
        total.add_(agreeing)
        if normalize:
            share.add_(nonzero(agreeing), alpha=abs(weight))
    return total.div_(share.clamp_(min=_SMALLEST)) if normalize else total


def nonzero(values: "torch.Tensor") -> "torch.Tensor":
    """Return 1.0 where a value is not zero and 0.0 where it is, without slow comparisons."""
    import torch

    magnitude = values.view(torch.int32).bitwise_and(0x7FFFFFFF)
    return magnitude.clamp_(max=1).to(torch.float32)
