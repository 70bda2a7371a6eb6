"""Model breadcrumbs: drop a delta's largest and smallest entries."""

from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.adding_up import Normalize, Rescale, SumOfKeptParts, Thinned, same_l1
from merge.methods.method import Granularity, Lambdas, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch


class Sum(Parameters):
    """How what is kept is added up."""

    normalize: Normalize = False
    rescale: Rescale = False


class Crumbs(Thinned):
    """What each fine-tuned model may have of its own."""

    gamma: float = Field(
        0.01, ge=0.0, le=1.0, description="share of entries, the largest, that is dropped"
    )


@register
class Breadcrumbs(SumOfKeptParts):
    """`θ = θ_base + λ·Σ wᵢ·mᵢ∘(θᵢ - θ_base)`, Davari & Belilovsky 2023 (2312.06795), eq. 1-3.

    In each tensor the mask mᵢ drops the largest `gamma` of entries in magnitude, and as many of the
    smallest as leave `density`; if there are not as many, fewer of the largest. Parameters and
    counts are mergekit's; entries equal to the smallest or largest one that is kept are all kept.
    At a density of 1 nothing is dropped.
    """

    name = "breadcrumbs"
    granularity = Granularity.TENSORS
    parameters = Sum
    model_parameters = Crumbs

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the merge at each λ."""
        del totals
        kept = []
        for delta, density, gamma in zip(
            block.deltas, values.each("density"), values.each("gamma"), strict=True
        ):
            crumbs = middle_entries(delta, density, gamma)
            if values["rescale"]:
                lengths = (float(each.double().abs().sum()) for each in (delta, crumbs))
                crumbs = same_l1(crumbs, *lengths)
            kept.append(crumbs)
        yield from self.added_up(kept, block, values, lambdas)


def middle_entries(delta: "torch.Tensor", density: float, gamma: float) -> "torch.Tensor":
    """Return a delta with zeros for its largest and smallest entries.

    Args:
        delta: flat, of one tensor.
        density: share of entries that is kept.
        gamma: share that is dropped for being large.
    """
    import torch

    if density >= 1:
        return delta
    kept = int(density * len(delta))
    if not kept:
        return torch.zeros_like(delta)
    first = max(0, len(delta) - kept - int(gamma * len(delta)))
    # By the nearest float32, as mergekit orders them.
    magnitudes = delta.abs().to(torch.float32)
    ordered = magnitudes.cpu().numpy().copy()
    ordered.partition((first, first + kept - 1))
    low, high = float(ordered[first]), float(ordered[first + kept - 1])
    return torch.where((magnitudes >= low) & (magnitudes <= high), delta, 0.0)
