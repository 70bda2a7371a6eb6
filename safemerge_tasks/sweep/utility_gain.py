"""Whether one grid point has more utility than another, told by the same validation questions."""

from collections.abc import Sequence
from typing import NamedTuple

from safemerge_tasks.statistics.increase import paired_increase
from safemerge_tasks.sweep.manifest import Measured, Variant
from safemerge_tasks.sweep.outcomes import Group, Leaf, Survey, leaves_of


class _Answers(NamedTuple):
    """One model's answers to a task of lm-eval's.

    Attributes:
        share: of the mean over tasks.
        values: question's hash → its value, of which more is better, and its cluster.
    """

    share: float
    values: dict[bytes, tuple[float | None, str]]


class _Pair(NamedTuple):
    """Two models' values of one question."""

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
    by_seeds = {variant.seeds: variant for variant in old.variants}
    pairs: list[_Pair] = []
    for variant in new.variants:
        other = by_seeds.get(variant.seeds)
        found = other and _pairs(_answers(survey, other, tasks), _answers(survey, variant, tasks))
        if not found:
            return False
        pairs += found
    # Equal weights are 1, so that solved and unsolved stay 1 and 0.
    most = max(one.weight for one in pairs)
    before = [one.old * (one.weight / most) for one in pairs]
    after = [one.new * (one.weight / most) for one in pairs]
    return paired_increase(before, after, [one.cluster for one in pairs], confidence).lower > 0


def _pairs(old: Sequence[_Answers], new: Sequence[_Answers]) -> list[_Pair]:
    """Return the questions of two models; none where they cannot be compared."""
    found: list[_Pair] = []
    if len(old) != len(new):
        return []
    for before, after in zip(old, new, strict=True):
        if before.values.keys() != after.values.keys():
            return []
        both = [(before.values[key][0], *after.values[key]) for key in before.values]
        asked = [one for one in both if one[:2] != (None, None)]
        share = before.share / max(1, len(asked))
        known = [
            _Pair(was, now, where, share)
            for was, now, where in asked
            if was is not None and now is not None
        ]
        if not asked or len(known) < len(asked):
            return []
        found += known
    return found


def _answers(survey: Survey, variant: Variant, tasks: Sequence[Measured]) -> list[_Answers]:
    place = variant.results.get("validation")
    if place is None:
        return []
    wanted = [(task, False) for task in tasks]
    found: list[_Answers] = []
    for leaves in leaves_of(survey.folder / place, wanted, survey.manifest.judge).values():
        if isinstance(leaves, str):
            return []
        found += [_Answers(1 / len(leaves), _values(leaf)) for leaf in leaves]
    return found


def _values(leaf: Leaf) -> dict[bytes, tuple[float | None, str]]:
    scores = leaf.data.result.scores.get(leaf.filter)
    sign = 1.0 if leaf.more_is_better else -1.0
    return {
        one.key: (None if (value := one.value(0)) is None else sign * value, one.cluster)
        for one in (scores.only(leaf.metric) if scores else ())
    }
