"""Model Stock: how far to go from the base follows from how much the fine-tunes agree."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled, weighted_sum
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch


@register
class ModelStock(Method):
    """`θ = t·mean(θ_tuned) + (1-t)·θ_base`, `t = N·cosΩ/(1 + (N-1)·cosΩ)` in each tensor.

    Jang et al. 2024 (2403.19522); cosΩ is the mean cosine between two of the N deltas. A delta of
    zero has cosine 0 with the others, and t is kept within [0, 1]. There is no absolute threshold
    below which a delta counts as zero, so that small norm layers keep their update.
    """

    name = "model-stock"
    tuned = (2, None)
    takes_lambda = False
    passes = 1

    def keeps_base(self, values: Values) -> bool:
        """The mean of deltas that are zero is zero, whatever t is."""
        del values
        return True

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return the deltas' inner products, `[N, N]`, those above the diagonal left out."""
        import torch

        del values, totals
        deltas = block.deltas
        _total(block)  # while the deltas are at hand
        products = [a.dot(b) for row, a in enumerate(deltas) for b in deltas[: row + 1]]
        matrix = torch.zeros(len(deltas), len(deltas), dtype=torch.float64)
        rows, columns = torch.tril_indices(len(deltas), len(deltas))
        matrix[rows, columns] = torch.stack(products).cpu().double()
        return matrix

    def settle(self, totals: Mapping[str, Totals], values: Mapping[str, Values]) -> None:
        """Replace the inner products by t, `[]`."""
        import torch

        del values
        for sums in totals.values():
            lower = sums[-1]
            products = lower + lower.tril(-1).T
            sums[-1] = torch.tensor(ratio(products), dtype=torch.float64)

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the one result."""
        del lambdas
        yield scaled(_total(block), float(totals[0]) / len(values.models)).add_(block.base)


def _total(block: Block) -> "torch.Tensor":
    """Return the sum of the deltas."""
    return block.once("sum", lambda: weighted_sum(block.deltas, [1.0] * len(block.deltas)))


def ratio(products: "torch.Tensor") -> float:
    """Return t from the deltas' inner products."""
    import torch

    count = len(products)
    norms = products.diagonal().sqrt()
    cosines = torch.nan_to_num(products / torch.outer(norms, norms), nan=0.0)
    cosine = float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))
    cosine = max(0.0, min(1.0, cosine))
    return count * cosine / (1 + (count - 1) * cosine)
