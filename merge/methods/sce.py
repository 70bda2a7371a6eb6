"""SCE: select entries that vary, weigh models by their deltas' energy, erase what disagrees."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.method import Granularity, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch

# As in mergekit: less energy than this in all and the models count alike; divisors are no smaller.
_LEAST = 1e-6


class Selection(Parameters):
    """Which entries are merged."""

    select_topk: float = Field(
        1.0, ge=0.0, le=1.0, description="share of entries that is merged: those that vary most"
    )


@register
class Sce(Method):
    """`θ = θ_base + Σ wᵢ·δᵢ/Σ wᵢ`, in each entry over the models that have the sign of `Σ δᵢ`.

    Wan et al. 2024, FuseChat 3 (2408.07990), section 3.3: the `select_topk` share of a tensor's
    entries with the largest variance over the models is kept (of those that vary at all, as in
    mergekit), `wᵢ = mean(δᵢ²)/Σ mean(δⱼ²)` of what is kept, and minority signs are erased as in
    TIES. Parameters and limits are mergekit's: where all deltas together have less than 1e-6 of
    mean square, which many fine-tunes have, the models count alike. Entries that vary as much as
    the least one kept are all kept.
    """

    name = "sce"
    takes_lambda = False
    granularity = Granularity.TENSORS
    parameters = Selection

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the one result."""
        del lambdas, totals
        yield sce(block.deltas, values["select_topk"]).add_(block.base)


def sce(deltas: "Sequence[torch.Tensor]", select_topk: float) -> "torch.Tensor":
    """Return what is added to the base, from each model's flat delta of one tensor."""
    import torch

    if select_topk < 1:
        selected = most_varying(deltas, select_topk)
        deltas = [torch.where(selected, delta, 0.0) for delta in deltas]
    shares = energy_shares(deltas)
    signs = torch.zeros_like(deltas[0])
    for delta in deltas:
        signs += delta
    total, divisor = torch.zeros_like(signs), torch.zeros_like(signs)
    for delta, share in zip(deltas, shares, strict=True):
        agrees = torch.where(signs >= 0, delta > 0, delta < 0)
        total += torch.where(agrees, share * delta, 0.0)
        divisor += agrees.to(delta.dtype).mul_(share)
    return total.div_(divisor.clamp_(min=_LEAST))


def most_varying(deltas: "Sequence[torch.Tensor]", share: float) -> "torch.Tensor":
    """Return which entries vary most over the models: this share of those that vary at all."""
    import torch

    # N² times the variance, which is exact for stored values, ranked by its nearest float32.
    total, squares = (torch.zeros_like(deltas[0], dtype=torch.float64) for _ in range(2))
    for delta in deltas:
        wide = delta.double()
        total += wide
        squares.addcmul_(wide, wide)
    spread = squares.mul_(len(deltas)).sub_(total.square_()).to(torch.float32)
    count = int(int(spread.count_nonzero()) * share)
    if not count:
        return torch.zeros_like(spread, dtype=torch.bool)
    ordered = spread.cpu().numpy().copy()
    ordered.partition(len(ordered) - count)
    return spread >= float(ordered[len(ordered) - count])


def energy_shares(deltas: "Sequence[torch.Tensor]") -> list[float]:
    """Return each model's share in the deltas' mean squares, or equal shares of next to nothing."""
    energies = [float(delta.double().square().mean()) for delta in deltas]
    if sum(energies) < _LEAST:
        return [1 / len(energies)] * len(energies)
    return [energy / sum(energies) for energy in energies]
