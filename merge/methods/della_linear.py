"""DELLA's dropping, then a weighted sum."""

from merge.methods.della import Della, RescaledMean
from merge.methods.math.adding_up import Normalize
from merge.methods.registry import register


class RescaledSum(RescaledMean):
    """How what is kept is rescaled and added up."""

    normalize: Normalize = False


@register
class DellaLinear(Della):
    """`θ = θ_base + λ·Σ wᵢ·MagPrune(θᵢ - θ_base)`.

    Deep et al. 2024 (2406.11617), eq. 1-2, without the election of signs; see `della`. Parameters
    are mergekit's.
    """

    name = "della-linear"
    parameters = RescaledSum
    elects = False
