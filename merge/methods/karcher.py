"""Karcher mean: the middle of several models on the sphere of their directions."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import weighted_sum
from merge.methods.math.inner_products import inner_products
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch


class Iteration(Parameters):
    """When the mean is good enough."""

    max_iter: int = Field(10, ge=0, description="most steps toward the mean")
    tol: float = Field(1e-5, ge=0.0, description="length of a step that ends them")


@register
class Karcher(Method):
    """`θ = mean‖θᵢ‖·u`, u the point of the sphere with `Σ log_u(θᵢ/‖θᵢ‖) = 0`, in each tensor.

    The Riemannian centre of mass (Karcher 1977; for language models 2603.04972), with mergekit's
    parameters. The base is one of the models and all count alike. From the directions' normalised
    mean, `u ← exp_u(mean log_u(θᵢ/‖θᵢ‖))` until a step is shorter than `tol`, or `max_iter` times.
    Models that are zero lend their length, 0, and no direction.
    """

    name = "karcher"
    takes_lambda = False
    passes = 1
    parameters = Iteration

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return the models' inner products, `[N, N]`."""
        del values, totals
        return inner_products([block.base, *block.tuned])

    def settle(self, totals: Mapping[str, Totals], values: Mapping[str, Values]) -> None:
        """Replace the inner products by the models' weights, `[N]`."""
        for name, sums in totals.items():
            own = values[name]
            sums[-1] = karcher_weights(sums[-1], max_iter=own["max_iter"], tol=own["tol"])

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the mean."""
        del values, lambdas
        yield weighted_sum([block.base, *block.tuned], totals[0].tolist())


def karcher_weights(
    products: "torch.Tensor", *, max_iter: int = 10, tol: float = 1e-5
) -> "torch.Tensor":
    """Return the weights, `[N]`, whose sum of the points is their mean on the sphere.

    Args:
        products: the points' inner products, `[N, N]` float64.
        max_iter: most steps.
        tol: length of a step that ends them; shorter points have no direction.
    """
    import torch

    lengths = products.diagonal().sqrt()
    counted = lengths > tol
    weights = torch.zeros_like(lengths)
    if not counted.any():
        return weights
    lengths_counted = lengths[counted]
    # Everything below is in coordinates of the unit vectors, whose inner products these are.
    cosines = products[counted][:, counted] / torch.outer(lengths_counted, lengths_counted)

    def length(vector: "torch.Tensor") -> float:
        return float((vector @ cosines @ vector).clamp(min=0).sqrt())

    mean = torch.full_like(lengths_counted, 1 / len(lengths_counted))
    if length(mean) < tol:
        mean = torch.zeros_like(mean)
        mean[0] = 1.0
    mean /= length(mean)
    for _ in range(max_iter):
        dots = (cosines @ mean).clamp(-1.0, 1.0)
        angles = dots.arccos()
        # Points that are the mean pull nowhere, and those opposite it in no one direction.
        pulls = torch.where((angles < tol) | (torch.pi - angles < tol), 0.0, angles / angles.sin())
        step = (pulls - (pulls * dots).sum() * mean) / len(mean)
        size = length(step)
        if size < tol:
            break
        mean = math.cos(size) * mean + math.sin(size) / size * step
        mean /= length(mean)
    weights[counted] = lengths.mean() * mean / lengths_counted
    return weights
