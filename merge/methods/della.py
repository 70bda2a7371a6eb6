"""DELLA: drop entries at random, small ones more often, then TIES' election."""

from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.adding_up import Normalize, Rescale, SumOfKeptParts, Thinned, same_l1
from merge.methods.math.random_bits import random_bits
from merge.methods.method import Granularity, Lambdas, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch

_RANGE_BITS = 31


class RescaledMean(Parameters):
    """How what is kept is rescaled and added up."""

    normalize: Normalize = True
    rescale: Rescale = True


class Pruned(Thinned):
    """What each fine-tuned model may have of its own."""

    epsilon: float = Field(
        0.15, ge=0.0, le=0.5, description="how far the odds of being kept go from density"
    )


@register
class Della(SumOfKeptParts):
    """`θ = θ_base + λ·mean of the agreeing entries of MagPrune(θᵢ - θ_base)`.

    Deep et al. 2024 (2406.11617), eq. 1-4: in each row of the last dimension an entry is kept with
    a probability that rises with its rank in magnitude, from `density - epsilon` for the smallest
    to `density + epsilon` for the largest; signs are elected and averaged as in TIES (2306.01708).
    Parameters are mergekit's, and as there what is kept gets the delta's L1 length back, where the
    paper divides each entry by its probability. Equal entries rank in their order; a row of one is
    kept with probability `density`.
    """

    name = "della"
    passes = 1
    granularity = Granularity.ROWS
    parameters = RescaledMean
    model_parameters = Pruned
    elects = True

    def check(self, tuned: int, values: Values) -> str | None:
        """Probabilities lie between 0 and 1, and what is divided by is not 0."""
        for density, epsilon in zip(values.each("density"), values.each("epsilon"), strict=True):
            if 0 < density < 1 and not epsilon < density < 1 - epsilon:
                return (
                    f"density {density:g} and epsilon {epsilon:g} give odds that are not between 0 "
                    f"and 1; choose epsilon below {min(density, 1 - density):g}"
                )
        return super().check(tuned, values)

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return each delta's L1 length and that of what is kept, `[2, N]`; zeros if not needed."""
        import torch

        del totals
        if not values["rescale"] or all(density == 1 for density in values.each("density")):
            return torch.zeros(2, len(values.models), dtype=torch.float64)
        rows = [block.deltas, _kept(block, values)]
        return torch.stack(
            [torch.stack([each.double().abs().sum().cpu() for each in row]) for row in rows]
        )

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the merge at each λ; all share one random mask."""
        kept = [
            same_l1(delta, before, after)
            for delta, before, after in zip(_kept(block, values), *totals[0].tolist(), strict=True)
        ]
        yield from self.added_up(kept, block, values, lambdas)


def _kept(block: Block, values: Values) -> "list[torch.Tensor]":
    """Return what is kept of each delta, before it is rescaled."""
    return [
        block.once(f"kept {number}", lambda number=number: _pruned(block, values, number))  # type: ignore[misc]
        for number in range(len(values.models))
    ]


def _pruned(block: Block, values: Values, number: int) -> "torch.Tensor":
    import torch

    delta = block.deltas[number]
    density, epsilon = (values.each(name)[number] for name in ("density", "epsilon"))
    if density == 1:
        return delta
    if density == 0:
        return torch.zeros_like(delta)
    odds = keep_probabilities(delta.reshape(-1, _columns(block)), density, epsilon).reshape(-1)
    bits = random_bits(
        block.seed, block.name, number, block.start, block.stop, str(delta.device)
    ).bitwise_and_((1 << _RANGE_BITS) - 1)
    return torch.where(bits < (odds * 2**_RANGE_BITS).round_(), delta, 0.0)


def _columns(block: Block) -> int:
    return block.shape[-1] if block.shape else 1


def keep_probabilities(rows: "torch.Tensor", density: float, epsilon: float) -> "torch.Tensor":
    """Return how probably each entry is kept, float64 of the same shape.

    Args:
        rows: `[rows, columns]`, ranked by magnitude in each row.
        density: the mean probability.
        epsilon: by how much those of the smallest and the largest differ from it.
    """
    import torch

    columns = rows.shape[1]
    ladder = torch.linspace(
        density - epsilon, density + epsilon, columns, dtype=torch.float64, device=rows.device
    )
    if columns == 1:
        ladder.fill_(density)
    order = rows.abs().argsort(dim=1, stable=True)
    return torch.empty_like(rows, dtype=torch.float64).scatter_(1, order, ladder.expand_as(rows))
