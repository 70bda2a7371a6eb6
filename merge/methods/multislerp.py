"""Multi-SLERP: a weighted mean of several models' directions, by way of a tangent space."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from merge.errors import MergeError
from merge.methods.block import Block
from merge.methods.math.arithmetic import no_mean, weighted_sum
from merge.methods.math.inner_products import inner_products
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch


class Sphere(Parameters):
    """What is on the sphere, and how it is weighed."""

    normalize_weights: bool = Field(True, description="divide the weights by their sum")
    eps: float = Field(1e-8, ge=0.0, description="added to lengths that are divided by")
    on_deltas: bool = Field(True, description="mean of deltas, and not of weights")


class Share(Parameters):
    """What each fine-tuned model may have of its own."""

    weight: float = Field(1.0, description="share in the mean")


@register
class MultiSlerp(Method):
    """`θ = θ_base + Σ wᵢ‖δᵢ‖·exp_m(Σ wᵢ·log(δᵢ/‖δᵢ‖))`, m the direction of `Σ wᵢ·δᵢ/‖δᵢ‖`.

    mergekit's (Goddard 2025, goddard.blog/posts/multislerp-wow-what-a-cool-idea), with its
    parameters: the directions are projected onto the tangent space at their mean, where the
    projections (not the logarithms) are averaged. Without `on_deltas`, which is what a recipe
    without `base_model` means, it is the models' weights whose mean is taken. One model is itself.
    """

    name = "multislerp"
    takes_lambda = False
    passes = 1
    parameters = Sphere
    model_parameters = Share

    def check(self, tuned: int, values: Values) -> str | None:
        """Weights that are divided by their sum have to have one."""
        del tuned
        return no_mean(values.each("weight")) if values["normalize_weights"] else None

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return the inner products of deltas or models, `[N, N]`."""
        del totals
        return inner_products(block.deltas if values["on_deltas"] else block.tuned)

    def settle(self, totals: Mapping[str, Totals], values: Mapping[str, Values]) -> None:
        """Replace the inner products by what the models are multiplied by, `[N]`."""
        for name, sums in totals.items():
            own = values[name]
            found = multislerp_weights(
                sums[-1],
                own.each("weight"),
                normalize=own["normalize_weights"],
                eps=own["eps"],
            )
            if found is None:
                raise MergeError(
                    f"The models' directions in {name} cancel with these weights, so there is no "
                    f"mean on the sphere; change a weight."
                )
            sums[-1] = found

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the mean."""
        del lambdas
        if len(values.models) == 1:
            yield block.tuned[0]
        elif values["on_deltas"]:
            yield weighted_sum(block.deltas, totals[0].tolist()) + block.base
        else:
            yield weighted_sum(block.tuned, totals[0].tolist())


def multislerp_weights(
    products: "torch.Tensor", weights: list[float], *, normalize: bool = True, eps: float = 1e-8
) -> "torch.Tensor | None":
    """Return what each point is multiplied by, `[N]`, or None if their directions cancel.

    Two points whose directions cancel are averaged on the line between them.

    Args:
        products: the points' inner products, `[N, N]` float64.
        weights: one for each point.
        normalize: divide the weights by their sum.
        eps: added to lengths that are divided by.
    """
    import torch

    shares = torch.tensor(weights, dtype=torch.float64)
    if normalize:
        shares = shares / shares.sum()
    if len(shares) == 1:
        return torch.ones_like(shares)
    lengths = products.diagonal().sqrt()
    divisors = lengths + eps
    # In coordinates of the unit vectors, whose inner products these are.
    cosines = torch.nan_to_num(products / torch.outer(divisors, divisors))

    def length(vector: "torch.Tensor") -> "torch.Tensor":
        return (vector @ cosines @ vector).clamp(min=0).sqrt()

    if not (lengths > 0).any():
        return shares
    if length(shares) < eps:
        return shares if len(shares) == 2 else None
    mean = shares / length(shares)
    tangent = shares - (shares * (cosines @ mean)).sum() * mean
    angle = length(tangent) + eps
    point = angle.cos() * mean + (angle.sin() / angle if angle > 0 else 1.0) * tangent
    return torch.where(lengths > 0, (lengths * shares).sum() * point / divisors, 0.0)
