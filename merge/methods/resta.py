"""RESTA: add a safety vector to a fine-tuned model."""

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled
from merge.methods.math.random_drop import drop
from merge.methods.method import Coefficients, Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register
from merge.methods.roles import ALIGNED, SAFETY_VECTOR, UNALIGNED


class Strengths(Parameters):
    """How much of the safety vector is added, and how much of the task is dropped."""

    gamma: float = Field(0.5, description="strength of the safety vector")
    drop_rate: float = Field(
        0.0,
        ge=0.0,
        le=0.999,
        description="probability that an entry of the task's delta is dropped",
    )


@register
class Resta(Method):
    """`θ = θ_base + DARE_p(θ_tuned - θ_base) + gamma·(θ_aligned - θ_unaligned)`.

    Bhardwaj et al. 2024 (2402.11746). Without a drop rate this is the paper's RESTA,
    `θ_tuned + gamma·δ_safe`; with p > 0 it is RESTA_d. DARE acts on the task's delta only, not on
    the safety vector. The base is the aligned model; the paper has p = 0.3 and gamma = 0.5
    throughout.
    """

    name = "resta"
    tuned = (1, 1)
    roles = SAFETY_VECTOR
    takes_lambda = False
    parameters = Strengths

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the one result."""
        del lambdas, totals
        added = scaled(block.safety_vector, values["gamma"])
        rate = values["drop_rate"]
        if rate == 0:
            yield added.add_(block.tuned[0])
        else:
            yield added.add_(scaled(drop(block, 0, rate), 1.0 / (1.0 - rate))).add_(block.base)

    def coefficients(self, values: Values, scale: float) -> Coefficients | None:
        """Return the task's delta whole and gamma for the vector; with DARE it has no low rank."""
        del scale
        if values["drop_rate"]:
            return None
        gamma = values["gamma"]
        return Coefficients([1.0], {ALIGNED.name: gamma, UNALIGNED.name: -gamma})
