"""A safety vector by itself, for later use."""

from merge.methods.block import Block
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.registry import register
from merge.methods.roles import SAFETY_VECTOR


@register
class SafetyVector(Method):
    """`δ_safe = θ_aligned - θ_unaligned`, Bhardwaj et al. 2024 (2402.11746).

    Not a model: what `safemerge vector` saves and `--vector` reads. One vector serves every task.
    """

    name = "safety-vector"
    tuned = (0, 0)
    roles = SAFETY_VECTOR
    takes_lambda = False

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the difference."""
        del values, lambdas, totals
        yield block.safety_vector
