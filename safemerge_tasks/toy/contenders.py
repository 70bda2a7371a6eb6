"""The models that the demo compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily


WITH_LAMBDA = ("linear", "slerp", "dare-linear")
METHODS = (*WITH_LAMBDA, "model-stock", "resta")
DROP_RATE = 0.3  # both papers'


@dataclass(frozen=True)
class Contender:
    """One checkpoint to evaluate.

    Attributes:
        kind: aligned, tuned or merged.
        path: the checkpoint.
        seed: of the fine-tuning; None for the aligned model.
        weight: λ, the weight of the fine-tuned side in a merge; None elsewhere.
        method: how it was merged; None elsewhere.
    """

    kind: str
    path: Path
    seed: int | None = None
    weight: float | None = None
    method: str | None = None

    @property
    def name(self) -> str:
        """Return a name for files."""
        parts = [self.kind] if self.method in (None, "linear") else [self.kind, self.method]
        if self.seed is not None:
            parts.append(f"seed-{self.seed}")
        if self.weight is not None:
            parts.append(f"lambda-{self.weight:g}")
        return "-".join(parts)


def merge_contenders(
    family: "ToyFamily", weights: Sequence[float], folder: Path, methods: Sequence[str]
) -> list[Contender]:
    """Merge every seed's adapter by every method, and list all models to compare.

    Methods with λ give one model for each, in one pass over their inputs; `resta` has the paper's
    gamma = 0.5 and `model-stock` merges all seeds at once.

    Raises:
        SafemergeError: a method that the demo does not show.
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise SafemergeError(f"--methods {unknown[0]!r}: the demo shows {', '.join(METHODS)}.")
    contenders = [Contender("aligned", family.aligned)]
    # λ = 1 is the fine-tuned model itself, written out so that all contenders are served alike.
    for seed in family.tuned:
        path = _merged(family, "linear", [seed], [1.0], folder / f"tuned-{seed}")[0]
        contenders.append(Contender("tuned", path, seed))
    for method in methods:
        teams = [list(family.tuned)] if method == "model-stock" else [[s] for s in family.tuned]
        for seeds in teams:
            one = seeds[0] if len(seeds) == 1 else None
            out = folder / method / ("all-seeds" if one is None else f"seed-{one}")
            lambdas = weights if method in WITH_LAMBDA else ()
            paths = _merged(family, method, seeds, lambdas, out)
            shown: Sequence[float | None] = lambdas or [None]
            contenders += [
                Contender("merged", path, one, weight, method)
                for weight, path in zip(shown, paths, strict=True)
            ]
    return contenders


def _merged(
    family: "ToyFamily", method: str, seeds: Sequence[int], lambdas: Sequence[float], out: Path
) -> Sequence[Path]:
    from merge import merge

    ends: dict[str, Any] = {"aligned": str(family.aligned), "unaligned": str(family.unaligned)}
    return merge(
        method,
        base=family.aligned,
        tuned=[family.tuned[seed] for seed in seeds],
        out=out,
        lambdas=lambdas,
        parameters={"drop_rate": DROP_RATE} if method == "dare-linear" else {},
        **(ends if method == "resta" else {}),
    ).folders
