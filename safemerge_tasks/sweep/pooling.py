"""A task's metric over the seeds of one grid point, and the plain mean over tasks.

The seeds' models are asked the same questions, so their answers to one question are dependent: a
question, or all that share its `cluster`, is the unit of every interval here. The intervals speak
of these seeds and of questions that were not asked; the spread over seeds is told apart from them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from safemerge_tasks.report.measure import CONFIDENCE, Measure, from_questions
from safemerge_tasks.results.evaluation import ScoredQuestion, Scores
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
    models: Sequence[tuple[Scores, str]],
    confidence: float,
    *,
    reverse: bool = False,
    stands_for: float = 1.0,
) -> Pooled | None:
    """Return a metric over all models' answers; None if it is about none of them.

    Rates have Wilson's interval and Clopper and Pearson's bound, which never passes a limit too
    often, on the effective number of independent questions: the number of answers divided by the
    design effect of clusters made of one question's answers by all models
    (`statistics.increase.design_effect`). Graded metrics have clustered t bounds.

    Args:
        models: each one's scores, and what the metric is called there.
        confidence: of the one-sided bound.
        reverse: measure one minus the metric.
        stands_for: how many of the suite's questions each stands for; widens the interval.
    """
    answers = [one for scores, metric in models for one in scores.only(metric)]
    two_sided = from_questions(answers, 0, reverse=reverse, stands_for=stands_for)
    if two_sided is None:
        return None
    return Pooled(
        two_sided.value,
        two_sided.low,
        two_sided.high,
        _upper_bound(answers, confidence, reverse=reverse),
        two_sided.scored,
        two_sided.total,
        frozenset(one.cluster for scores, _ in models for one in scores.questions if one.cluster),
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
    whole: Sequence[tuple[Scores, str]],
    seen: Sequence[tuple[Scores, str]],
    confidence: float,
    *,
    reverse: bool = False,
) -> Pooled | None:
    """Return what a rate will be at least, if nothing harmful is found beyond what was seen.

    Args:
        whole: some models' answers to all questions; only their questions count.
        seen: answers to some of those, of as many models in the same order, or of none.
        confidence: of the one-sided bound.
        reverse: the harm is one minus the metric.
    """
    harmless = 1.0 if reverse else 0.0
    models = []
    for number, (scores, metric) in enumerate(whole):
        found = {}
        if seen:
            answered, name = seen[number]
            found = {one.key: one.value(0) for one in answered.only(name)}
        questions = [
            one._replace(
                unscored=False, values=(harmless if (v := found.get(one.key)) is None else v,)
            )
            for one in scores.only(metric)
        ]
        models.append((Scores([metric], questions), metric))
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
    if not known:
        return Pooled(None, None, None, None, scored, total)
    if len(known) == 1 and known[0].hits is None:
        only = known[0]
        return Pooled(only.value, only.low, only.high, None, scored, total)
    value = math.fsum(one.value or 0.0 for one in known) / len(known)
    if any(one.hits is None or not one.scored for one in known):
        return Pooled(value, None, None, None, scored, total)
    hits, answers = sum(one.hits or 0 for one in known), sum(one.scored for one in known)
    questions = min(one.scored for one in known)
    share = hits / answers
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
    scored, total = sum(one.scored for one in tasks), sum(one.total for one in tasks)
    clusters = frozenset().union(*(one.clusters for one in tasks))
    values = [one.value for one in tasks if one.value is not None]
    if not tasks or len(values) < len(tasks):
        return Pooled(None, None, None, None, scored, total, clusters)
    mean = math.fsum(values) / len(values)
    parts = _dependent(tasks)

    def end(name: str) -> float | None:
        if any(getattr(one, name) is None for one in tasks):
            return None
        sums = [math.fsum(getattr(tasks[n], name) - values[n] for n in part) for part in parts]
        reach = math.hypot(*sums) / len(tasks)
        return mean - reach if name == "low" else mean + reach

    if len(tasks) == 1:
        return tasks[0]
    return Pooled(mean, end("low"), end("high"), end("bound"), scored, total, clusters)


def _dependent(tasks: Sequence[Pooled]) -> list[list[int]]:
    """Return the numbers of tasks by what they share clusters with, directly or by others."""
    parts: list[tuple[frozenset[str], list[int]]] = []
    for number, task in enumerate(tasks):
        linked = [part for part in parts if part[0] & task.clusters]
        labels = task.clusters.union(*(part[0] for part in linked))
        numbers = sorted([number, *(n for part in linked for n in part[1])])
        parts = [part for part in parts if part not in linked] + [(labels, numbers)]
    return [numbers for _, numbers in parts]


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean over seeds and the sample standard deviation (n-1); None for one seed."""
    return fmean(values), stdev(values) if len(values) > 1 else None
