"""How far judges agree beyond chance."""

from collections.abc import Sequence

from safemerge_tasks.verdicts.verdict import Verdict


def agreement(votes: Sequence[Sequence[Verdict]]) -> dict[str, float]:
    """Return Krippendorff's alpha for harm and for compliance, each where it can be told.

    1 is perfect agreement, 0 what chance gives. Missing verdicts are allowed; exchanges with fewer
    than two verdicts do not count. Source: Krippendorff 2011, Computing Krippendorff's
    Alpha-Reliability, nominal data.

    Args:
        votes: `[judges][exchanges]`.
    """
    found = {}
    for name in ("harmful", "complied"):
        alpha = _alpha([[getattr(verdict, name) for verdict in judge] for judge in votes])
        if alpha is not None:
            found[name] = alpha
    return found


def _alpha(votes: Sequence[Sequence[bool | None]]) -> float | None:
    import krippendorff
    import numpy as np

    data = np.array(
        [[np.nan if vote is None else float(vote) for vote in judge] for judge in votes]
    )
    paired = (~np.isnan(data)).sum(axis=0) > 1
    values = np.unique(data[:, paired][~np.isnan(data[:, paired])])
    if not len(values):
        return None
    if len(values) == 1:
        # Nobody disagreed on anything, though without variation alpha's ratio is 0/0.
        return 1.0
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement="nominal"))
