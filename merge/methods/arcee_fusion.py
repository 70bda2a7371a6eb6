"""Arcee Fusion: take over the changes that stand out."""

from typing import TYPE_CHECKING

from merge.methods.block import Block
from merge.methods.method import Granularity, Lambdas, Method, Outputs, Totals, Values
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch

# As in mergekit, added to the probabilities.
_FLOOR = 1e-8
# Rows are compared as many at a time as have about so many elements.
_AT_ONCE = 1 << 20


@register
class ArceeFusion(Method):
    """`θ = θ_base + δ` where `|δ|·KL ≥ median + 1.5·(q₃ - q₁)` of it in the tensor, else `θ_base`.

    mergekit's (Arcee 2025, mergekit 0.1's release notes): KL is the divergence of the fine-tuned
    row's softmax from the base's, rows running along the last dimension. The quartiles are those of
    all entries, where mergekit draws a million of larger tensors at random; and the divergence is
    computed in float64: that of a fine-tune is about as small as float32's rounding.
    """

    name = "arcee-fusion"
    tuned = (1, 1)
    takes_lambda = False
    granularity = Granularity.TENSORS

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the one result."""
        import torch

        del values, lambdas, totals
        columns = block.shape[-1] if block.shape else 1
        base, tuned = (each.reshape(-1, columns) for each in (block.base, block.tuned[0]))
        scores = importance(tuned, base).reshape(-1)
        threshold = outlier_threshold(scores)
        yield torch.where(scores >= threshold, block.deltas[0], 0.0).add_(block.base)


def importance(tuned: "torch.Tensor", base: "torch.Tensor") -> "torch.Tensor":
    """Return how important each change is, float32 `[rows, columns]` as the weights are."""
    import torch

    scores = torch.empty_like(base, dtype=torch.float32)
    step = max(1, _AT_ONCE // max(1, base.shape[1]))
    for first in range(0, len(base), step):
        new, old = (each[first : first + step].double() for each in (tuned, base))
        p, q = (each.softmax(dim=1).add_(_FLOOR) for each in (new, old))
        divergence = (p * (p / q).log_()).sum(dim=1, keepdim=True)
        scores[first : first + step] = (new - old).abs_().mul_(divergence)
    return scores


def outlier_threshold(scores: "torch.Tensor") -> float:
    """Return the median and one and a half quartile ranges, each quartile being an entry."""
    places = [int(share * (len(scores) - 1)) for share in (0.25, 0.5, 0.75)]
    ordered = scores.cpu().numpy().copy()
    ordered.partition(places)
    low, middle, high = (float(ordered[place]) for place in places)
    return middle + 1.5 * (high - low)
