"""A surrogate of LSSF, from weights alone: add what is dense in a safety vector."""

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled
from merge.methods.math.subspaces import entropy_part, of_each_matrix
from merge.methods.method import Granularity, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register
from merge.methods.roles import SAFETY_VECTOR


class Strength(Parameters):
    """How much is added."""

    gamma: float = Field(description="strength: how much of the vector's dense part is added")


@register
class LssfSurrogate(Method):
    """`θ = θ_tuned + gamma·SVD_r(V)`, `V = θ_aligned - θ_unaligned`, r the effective rank of V.

    After LSSF (Zhou et al. 2025, 2602.00038), `θ_tuned + P·V`, and not it: the paper's projection P
    comes from activations, and its rank from an entropy of theirs. Here both come from V's own
    singular values, r being the exponential of their entropy (see `entropy_part`), rounded. Per
    tensor of two or more dimensions (of more than two, of each matrix that its last two make);
    others stay the fine-tuned model's.
    """

    name = "lssf-surrogate"
    tuned = (1, 1)
    roles = SAFETY_VECTOR
    takes_lambda = False
    granularity = Granularity.TENSORS
    parameters = Strength

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the one result."""
        del lambdas, totals
        if len(block.shape) < 2:
            yield block.tuned[0]
            return
        dense = of_each_matrix(entropy_part, block.safety_vector, block.shape)
        yield scaled(dense, values["gamma"]).add_(block.tuned[0])
