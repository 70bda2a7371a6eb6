"""Safe LoRA: project the LoRA updates that leave the alignment subspace back onto it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from merge.lora.updates import LowRank
from merge.methods.block import Block
from merge.methods.method import Coefficients, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register
from merge.methods.roles import SAFETY_VECTOR

if TYPE_CHECKING:
    import torch

_COSINE_PASS = 2


class Choice(Parameters):
    """Which updates are projected."""

    threshold: float = Field(
        0.5,
        ge=-1.0,
        le=1.0,
        description="τ: updates whose cosine is at most this are projected",
    )
    layers: int = Field(0, ge=0, description="how many updates to project, in place of τ")


@register
class SafeLora(Method):
    """`ΔW' = C·ΔW` with `C = V·Vᵀ/‖V‖_F` where `cos(C·ΔW, ΔW) ≤ τ`, else `ΔW' = ΔW`.

    Hsu et al. 2024 (2405.16833); V is the aligned weight minus the unaligned one. C·B·A is computed
    as `(V·(Vᵀ·B)/‖V‖_F)·A`, so the `[out, out]` matrix C never exists. With `layers` the k tensors
    of lowest cosine are projected instead of those at most τ. A weight that is stored as
    `[in, out]` (`fan_in_fan_out`) is projected on its output side too.
    """

    name = "safe-lora"
    tuned = (1, 1)
    roles = SAFETY_VECTOR
    needs_adapter = True
    takes_lambda = False
    passes = 3
    parameters = Choice

    def over_model(self, values: Values) -> bool:
        """Whether the tensors have to be ranked against one another."""
        return bool(values["layers"])

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return a part of `Vᵀ·B` and ‖V‖², then of `V·(Vᵀ·B)`, then the cosine."""
        import torch

        del values
        update = block.low_rank
        if update is None:
            return torch.zeros(1, dtype=torch.float64)
        if len(totals) == _COSINE_PASS:
            # Nothing is read for this one, and one block's answer is the tensor's.
            cosine = _cosine(update, totals) if block.start == 0 else 0.0
            return torch.tensor([cosine], dtype=torch.float64)
        first, rows = _rows(block)
        factor = _output_factor(update)
        if not totals:
            # Of V stored as [in, out] it is V·B, and then Vᵀ·(V·B).
            product = (
                _placed(rows @ factor.to(rows), first, block.shape[0])
                if update.turned
                else (rows.T @ factor[first : first + len(rows)].to(rows)).double().cpu()
            )
            square = rows.square().sum().reshape(1).double().cpu()
            return torch.cat([product.reshape(-1), square])
        middle = totals[0][:-1].reshape(-1, factor.shape[1]).to(rows)
        if update.turned:
            return (rows.T @ middle[first : first + len(rows)]).double().cpu()
        return _placed(rows @ middle, first, len(factor))

    def settle(self, totals: Mapping[str, Totals], values: Mapping[str, Values]) -> None:
        """After the last pass, decide which updates are projected."""
        updated = {name: own for name, own in totals.items() if own[0].numel() > 1}
        if not updated or len(next(iter(updated.values()))) <= _COSINE_PASS:
            return
        lowest = sorted(updated, key=lambda name: float(updated[name][_COSINE_PASS]))
        for rank, name in enumerate(lowest):
            own, layers = updated[name], values[name]["layers"]
            cosine = float(own[_COSINE_PASS])
            chosen = rank < layers if layers else cosine <= values[name]["threshold"]
            # Without a V, which has no direction, there is nothing to project onto.
            chosen = chosen and float(own[0][-1]) > 0
            own.append(own[_COSINE_PASS].new_tensor([float(chosen)]))
            # Of all tensors of a model at once only this is kept: ‖V‖², and the new factors.
            own[0] = own[0][-2:].clone()
            own[1] = own[1].float() if chosen else own[1][:0].clone()

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the base plus the update, projected or not."""
        del values, lambdas
        update = block.low_rank
        if update is None or not is_projected(totals):
            yield block.tuned[0]
            return
        new = project(update, totals)
        yield new.read(block.start, block.stop).to(block.base.device).add_(block.base)

    def report(self, values: Values, totals: Totals) -> str | None:
        """Count the updates that were projected."""
        del values
        if totals[0].numel() == 1:
            return None
        return "updates projected" if is_projected(totals) else "updates kept"

    def coefficients(self, values: Values, scale: float) -> Coefficients:
        """Return the one update, projected or not."""
        del values, scale
        return Coefficients([1.0])

    def transform(self, update: LowRank, totals: Totals) -> LowRank:
        """Return the update, projected where it has to be."""
        return project(update, totals) if totals and is_projected(totals) else update


def is_projected(totals: Totals) -> bool:
    """Whether an update was found to need projection."""
    return bool(totals[-1].item())


def project(update: LowRank, totals: Totals) -> LowRank:
    """Return the projected update: the same A, another B."""
    new = (totals[1] / math.sqrt(float(totals[0][-1]))).to(update.left)
    if update.turned:
        return replace(update, right=new.T.contiguous())
    return replace(update, left=new)


def _output_factor(update: LowRank) -> "torch.Tensor":
    """Return B, `[out, r]`, of an update in the orientation of the stored weight."""
    return update.right.T if update.turned else update.left


def _placed(rows: "torch.Tensor", first: int, count: int) -> "torch.Tensor":
    """Return rows in their place among ``count`` of which the others are zero, in float64."""
    import torch

    placed = torch.zeros(count, rows.shape[1], dtype=torch.float64)
    placed[first : first + len(rows)] = rows.double().cpu()
    return placed


def _cosine(update: LowRank, totals: Totals) -> float:
    """Return the cosine of `C·B·A` and `B·A`, from products of the factors.

    `<X·A, Y·A> = Σ (Xᵀ·Y)∘(A·Aᵀ)`. 1 where V or the update is zero: nothing to project.
    """
    old, new = _output_factor(update).double(), totals[1]
    inputs = (update.left.T if update.turned else update.right).double()
    gram = inputs @ inputs.T
    inner = float(((new.T @ old) * gram).sum())
    squares = [float(((factor.T @ factor) * gram).sum()) for factor in (old, new)]
    norm = math.sqrt(max(squares[0], 0.0)) * math.sqrt(max(squares[1], 0.0))
    return inner / norm if norm > 0 else 1.0


def _rows(block: Block) -> "tuple[int, torch.Tensor]":
    """Return the block's part of V as whole rows, zero where they are outside the block."""
    columns = block.shape[1]
    first, last = block.start // columns, -(-block.stop // columns)
    rows = block.safety_vector.new_zeros((last - first) * columns)
    offset = block.start - first * columns
    rows[offset : offset + block.stop - block.start] = block.safety_vector
    return first, rows.reshape(-1, columns)
