"""SafeMERGE's choice of matrices, merged toward the base instead of a safe model."""

from merge.methods.registry import register
from merge.methods.roles import SAFETY_VECTOR
from merge.methods.safemerge import SafeMerge


@register
class SafeMergeToBase(SafeMerge):
    """`θ = θ_base + λ·ΔW` where `cos(C·ΔW, ΔW) < τ`, else `θ = θ_tuned`.

    Not the paper's: SafeMERGE (2503.17239) merges with a model that was tuned to be safe, and this
    needs none. See `safemerge` for C, τ and what is left alone.
    """

    name = "safemerge-to-base"
    roles = SAFETY_VECTOR
