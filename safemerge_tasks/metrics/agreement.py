"""How far judges agree beyond chance."""

from collections.abc import Sequence

from safemerge_tasks.statistics.krippendorff import nominal_alpha
from safemerge_tasks.verdicts.verdict import Verdict


def judges_alpha(votes: Sequence[Sequence[Verdict]]) -> dict[str, float]:
    """Return Krippendorff's alpha for harm and for compliance, each where it can be told.

    Args:
        votes: `[judges][exchanges]`; exchanges with fewer than two verdicts do not count.
    """
    found = {}
    for name in ("harmful", "complied"):
        said = [[getattr(verdict, name) for verdict in one] for one in zip(*votes, strict=True)]
        alpha = nominal_alpha([[value for value in one if value is not None] for one in said])
        if alpha is not None:
            found[name] = alpha
    return found
