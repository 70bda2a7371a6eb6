"""SafeMERGE: where an update leaves the alignment subspace, merge with a model tuned to be safe."""

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from merge.lora.updates import LowRank
from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled
from merge.methods.math.subspaces import cosine_with_projection
from merge.methods.method import Granularity, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register
from merge.methods.roles import SAFETY_VECTOR, Role

if TYPE_CHECKING:
    import torch


SAFE = Role("safe", "a model or adapter that was fine-tuned to be safe")


class Threshold(Parameters):
    """Which updates are merged."""

    threshold: float = Field(
        0.35,
        ge=-1.0,
        le=1.0,
        description="τ: matrices whose update has a cosine below this are merged",
    )


@register
class SafeMerge(Method):
    """`θ = θ_base + λ·ΔW + (1-λ)·ΔW_safe` where `cos(C·ΔW, ΔW) < τ`, else `θ = θ_tuned`.

    Djuhera et al. 2025 (2503.17239), section 3, per matrix; `C = V·Vᵀ/‖V‖_F` as in Safe LoRA
    (2405.16833), V the aligned weight minus the unaligned one, ΔW and ΔW_safe what the fine-tuned
    and the safe model add to the base. The paper has τ = 0.35 and λ = 0.8. Whole updates are added
    up, where its authors' code adds LoRA factors apart, whose product has cross terms. Works on
    adapters and on full models. A matrix whose V is zero has cosine 0, as in that code; what
    fine-tuning leaves alone, and what is no matrix, stays the fine-tuned model's.
    """

    name = "safemerge"
    tuned = (1, 1)
    roles: ClassVar[tuple[Role, ...]] = (*SAFETY_VECTOR, SAFE)
    default_lambda = 0.8
    passes = 1
    granularity = Granularity.TENSORS
    parameters = Threshold

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return the update's cosine, `[1]`, or nan of what is never merged."""
        import torch

        del values, totals
        return torch.tensor([update_cosine(block)], dtype=torch.float64)

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the fine-tuned model's tensor, or its merge with the safe one's at each λ."""
        cosine = float(totals[0])
        # nan is below nothing.
        merged = cosine < values["threshold"]
        for scale in lambdas:
            if not merged:
                yield block.tuned[0]
                continue
            delta = scaled(block.deltas[0], scale)
            if SAFE in self.roles:
                delta.add_(scaled(block.role_delta(SAFE.name), 1 - scale))
            yield delta.add_(block.base)

    def report(self, values: Values, totals: Totals) -> str | None:
        """Count the updates that were merged."""
        cosine = float(totals[0])
        if math.isnan(cosine):
            return None
        return "updates merged" if cosine < values["threshold"] else "updates kept"


def update_cosine(block: Block) -> float:
    """Return `cos(C·ΔW, ΔW)` of a whole tensor's update, nan if it has none or is no matrix."""
    shape = block.shape
    if len(shape) != 2:
        return math.nan
    update = block.low_rank
    if update is None and not block.deltas[0].any():
        return math.nan
    vector = block.safety_vector.reshape(shape)
    if update is None:
        return cosine_with_projection(vector, block.deltas[0].reshape(shape))
    left, right = _factors(update)
    vector = vector.T if update.turned else vector
    return cosine_with_projection(vector, left.to(vector), right.to(vector))


def _factors(update: LowRank) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the factors of an update, `[out, r]` and `[r, in]`."""
    if update.turned:
        return update.right.T, update.left.T
    return update.left, update.right
