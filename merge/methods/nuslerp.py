"""NuSLERP: two models' weights or deltas on their arc, over tensors, rows or columns."""

from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.inner_products import inner_products
from merge.methods.method import Granularity, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch

# As in mergekit: shorter vectors count as this long, and sines below the other as none.
_SHORTEST = 1e-7
_NO_ANGLE = 1e-8


class Arcs(Parameters):
    """What has an arc of its own, and between what it runs."""

    nuslerp_flatten: bool = Field(True, description="one arc for each tensor")
    nuslerp_row_wise: bool = Field(
        False, description="without nuslerp_flatten: along the first dimension, and not the last"
    )
    on_deltas: bool = Field(
        True, description="between the models' deltas, and not between their weights"
    )


class Share(Parameters):
    """What each fine-tuned model may have of its own."""

    weight: float = Field(1.0, description="share in the result")


@register
class NuSlerp(Method):
    """`θ = θ_base + sin((1-t)Ω)/sinΩ·δ₁ + sin(tΩ)/sinΩ·δ₂`, Ω the angle between two deltas.

    Shoemake 1985, with mergekit's parameters; t is the second model's weight by the sum of both,
    and ½ where they cancel. Without `on_deltas`, which is what a recipe without `base_model` means,
    the arc is between the two models' weights. Without `nuslerp_flatten` each run of the last
    dimension has an arc of its own, or of the first with `nuslerp_row_wise` (the name is
    mergekit's). Vectors that point one way, or opposite ways, are interpolated linearly.
    """

    name = "nuslerp"
    tuned = (2, 2)
    takes_lambda = False
    passes = 1
    granularity = Granularity.ROWS
    parameters = Arcs
    model_parameters = Share

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return `a·a, b·b, a·b`, `[3, arcs]`, or zeros where a block has all of an arc."""
        import torch

        del totals
        if values["nuslerp_flatten"]:
            products = inner_products(_ends(block, values))
            return torch.stack([products[0, 0], products[1, 1], products[0, 1]])[:, None]
        if not values["nuslerp_row_wise"]:
            return torch.zeros(1, dtype=torch.float64)
        a, b = (end.double() for end in _ends(block, values))
        arcs = block.elements // block.shape[0] if block.shape else 1
        sums = torch.zeros(3, arcs, dtype=torch.float64, device=a.device)
        columns = torch.arange(block.start, block.stop, device=a.device) % arcs
        return sums.index_add_(1, columns, torch.stack([a * a, b * b, a * b])).cpu()

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the point on each arc."""
        import torch

        del lambdas
        first, second = values.each("weight")
        a, b = _ends(block, values)
        if values["nuslerp_flatten"] or values["nuslerp_row_wise"]:
            sums = totals[0].to(a.device)
            places = torch.arange(block.start, block.stop, device=a.device) % sums.shape[1]
            one, other = arc_factors(second_share(first, second), sums[0], sums[1], sums[2])
            one, other = (one[places], other[places]) if sums.shape[1] > 1 else (one, other)
        else:
            rows = block.shape[-1] if block.shape else 1
            wide = [end.double().reshape(-1, rows) for end in (a, b)]
            aa, bb, ab = ((wide[x] * wide[y]).sum(1) for x, y in ((0, 0), (1, 1), (0, 1)))
            factors = arc_factors(second_share(first, second), aa, bb, ab)
            one, other = (factor.repeat_interleave(rows) for factor in factors)
        point = (one * a + other * b).to(a.dtype)
        yield point.add_(block.base) if values["on_deltas"] else point


def _ends(block: Block, values: Values) -> "list[torch.Tensor]":
    return block.deltas if values["on_deltas"] else block.tuned


def second_share(first: float, second: float) -> float:
    """Return t from two weights."""
    total = first + second
    return 0.5 if abs(total) < 1e-6 else second / total


def arc_factors(
    share: float, aa: "torch.Tensor", bb: "torch.Tensor", ab: "torch.Tensor"
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return by what a and b are multiplied for the point at this share of their arc.

    Args:
        share: t; 0 is a and 1 is b.
        aa: inner products of a with itself, in float64; the results have their shape.
        bb: of b with itself.
        ab: of a with b.
    """
    import torch

    lengths = [square.sqrt().clamp(min=_SHORTEST) for square in (aa, bb)]
    cosine = (ab / (lengths[0] * lengths[1])).clamp(-1.0, 1.0)
    angle = cosine.arccos()
    sine = angle.sin()
    straight = sine.abs() < _NO_ANGLE
    sine = torch.where(straight, 1.0, sine)
    one = torch.where(straight, 1 - share, ((1 - share) * angle).sin() / sine)
    other = torch.where(straight, share, (share * angle).sin() / sine)
    return one, other
