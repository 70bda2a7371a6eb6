"""Model breadcrumbs in place of trimming, then TIES' election."""

from merge.methods.breadcrumbs import Breadcrumbs
from merge.methods.registry import register


@register
class BreadcrumbsTies(Breadcrumbs):
    """`θ = θ_base + λ·Σ of the agreeing entries of wᵢ·mᵢ∘(θᵢ - θ_base)`.

    The masks mᵢ are those of breadcrumbs (Davari & Belilovsky 2023, 2312.06795), signs are elected
    as in TIES (Yadav et al. 2023, 2306.01708). Parameters are mergekit's.
    """

    name = "breadcrumbs-ties"
    elects = True
