"""LoX: strengthen an aligned model's safety before it is fine-tuned."""

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled
from merge.methods.math.subspaces import leading_part, of_each_matrix
from merge.methods.method import Granularity, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register
from merge.methods.roles import SAFETY_VECTOR


class Extrapolation(Parameters):
    """How far to go, and along how many directions."""

    gamma: float = Field(description="strength: how much of the vector's leading part is added")
    rank: int = Field(ge=0, description="directions of the safety vector, 0 for all")


@register
class Lox(Method):
    """`θ = θ_aligned + gamma·SVD_k(θ_aligned - θ_unaligned)`, Perin et al. 2025 (2506.15606).

    `SVD_k` is the nearest matrix of rank k, per tensor of two or more dimensions (of more than two,
    of each matrix that its last two make); others stay the aligned model's. The base is the aligned
    model, and what comes out is to be fine-tuned; k = 0 takes the whole difference. Of matrices
    with more than 512 rows and columns the directions are found from a random range, drawn by the
    recipe's seed.
    """

    name = "lox"
    tuned = (0, 0)
    roles = SAFETY_VECTOR
    takes_lambda = False
    granularity = Granularity.TENSORS
    parameters = Extrapolation

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the one result."""
        del lambdas, totals
        if len(block.shape) < 2:
            yield block.base
            return
        vector, rank = block.safety_vector, values["rank"]
        if rank:
            vector = of_each_matrix(
                lambda matrix: leading_part(matrix, rank, block.seed), vector, block.shape
            )
        yield scaled(vector, values["gamma"]).add_(block.base)
