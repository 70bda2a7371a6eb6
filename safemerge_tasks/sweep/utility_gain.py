"""Whether one grid point has more utility than another, told by the same validation questions."""

from collections.abc import Sequence
from typing import NamedTuple

from safemerge_tasks.statistics.increase import paired_increase
from safemerge_tasks.sweep.manifest import Measured, Variant
from safemerge_tasks.sweep.outcomes import Group, Leaf, Survey


class _Pair(NamedTuple):
    """Two models' values of one question, of which more is better."""

    old: float
    new: float
    cluster: str
    weight: float


def surely_better(
    survey: Survey, new: Group, old: Group, tasks: Sequence[Measured], confidence: float
) -> bool:
    """Return whether the mean utility of a point is above another's, with confidence.

    That is `statistics.increase.paired_increase` over all questions, each weighted so that the mean
    is the plain one over tasks; the seeds' pairs of one question are a cluster. Nothing is sure
    where a task has no samples, or a question has a value of one model only.

    Args:
        survey: the sweep.
        new: the point that has to be better.
        old: the point that it is compared with.
        tasks: utility tasks on validation data.
        confidence: of the one-sided bound.
    """
    by_seeds = {cell.variant.seeds: cell.variant for cell in old.complete("validation", tasks)}
    having = [cell.variant for cell in new.complete("validation", tasks)]
    if len(having) < len(new.variants):
        return False
    pairs: list[_Pair] = []
    for variant in having:
        other = by_seeds.get(variant.seeds)
        found = _pairs(survey, other, variant, tasks) if other else []
        if not found:
            return False
        pairs += found
    # Equal weights are 1, so that solved and unsolved stay 1 and 0.
    most = max(one.weight for one in pairs)
    before = [one.old * (one.weight / most) for one in pairs]
    after = [one.new * (one.weight / most) for one in pairs]
    return paired_increase(before, after, [one.cluster for one in pairs], confidence).lower > 0


def _pairs(survey: Survey, old: Variant, new: Variant, tasks: Sequence[Measured]) -> list[_Pair]:
    """Return the questions of two models; none where they cannot be compared."""
    found: list[_Pair] = []
    before, after = (
        [
            (1 / len(leaves), _values(leaf))
            for leaves in survey.leaves(one, "validation", tasks, safety=False)
            for leaf in leaves
        ]
        for one in (old, new)
    )
    if [values.keys() for _, values in before] != [values.keys() for _, values in after]:
        return []
    for (share, values), (_, others) in zip(before, after, strict=True):
        both = [(values[key][0], *others[key]) for key in values]
        asked = [one for one in both if one[:2] != (None, None)]
        known = [
            _Pair(was, now, cluster, share / len(asked))
            for was, now, cluster in asked
            if was is not None and now is not None
        ]
        if not asked or len(known) < len(asked):
            return []
        found += known
    return found


def _values(leaf: Leaf) -> dict[bytes, tuple[float | None, str]]:
    """Return a question's hash → its value, of which more is better, and its cluster."""
    sign = 1.0 if leaf.more_is_better else -1.0
    return {
        one.key: (None if (value := one.value(0)) is None else sign * value, one.cluster)
        for one in leaf.answers
    }
