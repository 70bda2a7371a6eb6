"""A task's metric over the seeds of one grid point, and the plain mean over tasks.

The seeds' models are asked the same questions, so their answers to one question are dependent: a
question, or all that share its `cluster`, is the unit of every interval here. The intervals speak
of these seeds and of questions that were not asked; the spread over seeds is told apart from them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from safemerge_tasks.report.measure import CONFIDENCE, Measure, from_questions
from safemerge_tasks.results.evaluation import ScoredQuestion
from safemerge_tasks.statistics import clopper_pearson_interval, wilson_interval
from safemerge_tasks.statistics.clustered import Clustered, t_bounds
from safemerge_tasks.statistics.fixed_part import fixed_part_effect
from safemerge_tasks.statistics.increase import rate_bounds


@dataclass(frozen=True)
class Pooled:
    """A metric over several models that were asked the same.

    Attributes:
        value: the mean over all answers with a verdict; None where there is none.
        low: lower end of the 95 % interval; None where nothing tells it.
        high: upper end.
        bound: one-sided upper bound, at the confidence that was asked for.
        scored: answers with a verdict, of all models.
        total: all answers.
        clusters: labels of dependent questions.
    """

    value: float | None
    low: float | None
    high: float | None
    bound: float | None
    scored: int
    total: int
    clusters: frozenset[str] = frozenset()


def pool_scores(
    models: Sequence[Sequence[ScoredQuestion]],
    confidence: float,
    *,
    reverse: bool = False,
    stands_for: float = 1.0,
) -> Pooled:
    """Return a metric over all models' answers, some of which it has to be about.

    Rates have Wilson's interval and Clopper and Pearson's bound, which never passes a limit too
    often, on the effective number of independent questions: the number of answers divided by the
    design effect of clusters made of one question's answers by all models
    (`statistics.increase.design_effect`). Graded metrics have clustered t bounds.

    Args:
        models: each one's questions with the metric alone, as `Scores.only` returns them.
        confidence: of the one-sided bound.
        reverse: measure one minus the metric.
        stands_for: how many of the suite's questions each stands for; widens the interval.
    """
    answers = [one for questions in models for one in questions]
    two_sided = from_questions(answers, 0, reverse=reverse, stands_for=stands_for)
    assert two_sided is not None
    return Pooled(
        two_sided.value,
        two_sided.low,
        two_sided.high,
        _upper_bound(answers, confidence, reverse=reverse),
        two_sided.scored,
        two_sided.total,
        # A question of its own is labelled by its key, which another task may ask, too.
        frozenset(one.cluster for one in answers if one.cluster != one.key.hex()),
    )


def _upper_bound(
    answers: Sequence[ScoredQuestion], confidence: float, *, reverse: bool
) -> float | None:
    known = [(value, one.cluster) for one in answers if (value := one.value(0)) is not None]
    if not known:
        return None
    values = [1 - value if reverse else value for value, _ in known]
    grouped = Clustered.of(values, [cluster for _, cluster in known])
    if set(values) <= {0.0, 1.0}:
        return rate_bounds(grouped, confidence)[1]
    bound = t_bounds(grouped, confidence)[1]
    return bound if math.isfinite(bound) else None


def pool_at_best(
    whole: Sequence[Sequence[ScoredQuestion]],
    seen: Sequence[Sequence[ScoredQuestion]],
    confidence: float,
    *,
    reverse: bool,
) -> Pooled:
    """Return what a rate will be at least, if nothing harmful is found beyond what was seen.

    Args:
        whole: some models' answers to all questions, as above; only their questions count.
        seen: answers to some of those, of as many models in the same order, or of none.
        confidence: of the one-sided bound.
        reverse: the harm is one minus the metric.
    """
    harmless = 1.0 if reverse else 0.0
    models = []
    for number, questions in enumerate(whole):
        found = {one.key: one.value(0) for one in seen[number]} if seen else {}
        values = [harmless if (v := found.get(one.key)) is None else v for one in questions]
        both = zip(questions, values, strict=True)
        models.append([one._replace(unscored=False, values=(value,)) for one, value in both])
    return pool_scores(models, confidence, reverse=reverse)


def pool_measures(
    measures: Sequence[Measure], confidence: float, stands_for: float = 1.0
) -> Pooled:
    """Return a metric over models of which there are no samples.

    Which of a model's answers are dependent on another's is not known, so the questions count once,
    as if all models answered alike (as `statistics.interval_over_units` does). There are bounds
    only where the models' measures rest on counts.
    """
    known = [one for one in measures if one.value is not None]
    scored, total = sum(one.scored for one in measures), sum(one.total for one in measures)
    hits = [one.hits for one in known if one.hits is not None]
    if not known:
        return Pooled(None, None, None, None, scored, total)
    if len(hits) < len(known):
        mean = math.fsum(one.value or 0.0 for one in known) / len(known)
        low, high = (known[0].low, known[0].high) if len(known) == 1 else (None, None)
        return Pooled(mean, low, high, None, scored, total)
    questions = min(one.scored for one in known)
    share = sum(hits) / sum(one.scored for one in known)
    fewer = fixed_part_effect(questions, stands_for)
    low, high = wilson_interval(share * questions / fewer, questions / fewer, CONFIDENCE)
    bound = clopper_pearson_interval(share * questions, questions, 2 * confidence - 1)[1]
    return Pooled(share, low, high, bound, scored, total)


def mean_over_tasks(tasks: Sequence[Pooled]) -> Pooled:
    """Return the plain mean over tasks: each counts alike, however many questions it has.

    Bounds by the method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine
    27(10)): the tasks' distances to their bounds, added as independent errors are. Tasks that share
    clusters, such as translations of one set, are added as fully dependent ones, which is at least
    as wide. One task keeps its own bounds.
    """
    if len(tasks) == 1:
        return tasks[0]
    scored, total = sum(one.scored for one in tasks), sum(one.total for one in tasks)
    clusters = frozenset().union(*(one.clusters for one in tasks))
    values = [one.value for one in tasks if one.value is not None]
    if not tasks or len(values) < len(tasks):
        return Pooled(None, None, None, None, scored, total, clusters)
    mean = math.fsum(values) / len(values)
    sharing = [[not one.clusters.isdisjoint(other.clusters) for other in tasks] for one in tasks]
    number, parts = connected_components(csr_array(sharing))

    def end(name: str) -> float | None:
        if any(getattr(one, name) is None for one in tasks):
            return None
        reaches = [getattr(one, name) - value for one, value in zip(tasks, values, strict=True)]
        sums = [
            math.fsum(one for one, own in zip(reaches, parts, strict=True) if own == part)
            for part in range(number)
        ]
        reach = math.hypot(*sums) / len(tasks)
        return mean - reach if name == "low" else mean + reach

    return Pooled(mean, end("low"), end("high"), end("bound"), scored, total, clusters)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean over seeds and the sample standard deviation (n-1); None for one seed."""
    return fmean(values), stdev(values) if len(values) > 1 else None
