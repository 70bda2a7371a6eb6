"""The models that the demo compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safemerge_tasks.demo.family import ToyFamily


@dataclass(frozen=True)
class Contender:
    """One checkpoint to evaluate.

    Attributes:
        kind: aligned, tuned or merged.
        path: the checkpoint.
        seed: of the fine-tuning; None for the aligned model.
        weight: λ, the weight of the fine-tuned side in a merge; None elsewhere.
    """

    kind: str
    path: Path
    seed: int | None = None
    weight: float | None = None

    @property
    def name(self) -> str:
        """Return a name for files."""
        parts = [self.kind]
        if self.seed is not None:
            parts.append(f"seed-{self.seed}")
        if self.weight is not None:
            parts.append(f"lambda-{self.weight:g}")
        return "-".join(parts)


def merge_contenders(
    family: "ToyFamily", weights: Sequence[float], folder: Path
) -> list[Contender]:
    """Merge every seed's adapter at every λ and at 1, and list all models to compare.

    λ = 1 is the fine-tuned model itself, written out as a checkpoint, so that all contenders are
    served alike. Each seed's merges are one pass over its inputs.
    """
    from merge import merge

    contenders = [Contender("aligned", family.aligned)]
    for seed, adapter in family.tuned.items():
        merged = merge(
            "linear",
            base=family.aligned,
            tuned=[adapter],
            out=folder / f"seed-{seed}",
            lambdas=[*weights, 1.0],
        ).folders
        contenders.append(Contender("tuned", merged[-1], seed))
        contenders += [
            Contender("merged", path, seed, weight)
            for weight, path in zip(weights, merged, strict=False)
        ]
    return contenders
