"""ASR against what a model can do, and the models that no other beats in both."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.reading import Model

PANELS = 3
"""More utility tasks than that do not fit beside each other."""


@dataclass(frozen=True)
class PlottedModel:
    """A model in the plot.

    Attributes:
        label: the model's.
        asr: value, low and high.
        utility: higher is better.
        on_front: no other model is at least as good in both and better in one.
    """

    label: str
    asr: tuple[float, float, float]
    utility: float
    on_front: bool = False


@dataclass(frozen=True)
class Tradeoff:
    """One utility metric's plot.

    Attributes:
        utility: what it is called.
        judge: whose ASR.
        tasks: over which the ASR is the plain mean.
        points: one a model.
    """

    utility: str
    judge: str
    tasks: tuple[str, ...]
    points: tuple[PlottedModel, ...]


def tradeoffs(models: Sequence[Model]) -> list[Tradeoff]:
    """Return the plots of utility tasks that at least two models have beside an ASR.

    A task's first metric of which more is better stands for it.
    """
    names = dict.fromkeys(name for model in models for name in model.tasks)
    found = (_tradeoff(name, models) for name in names)
    return [one for one in found if one][:PANELS]


def pareto(points: Iterable[tuple[float, float]]) -> list[bool]:
    """Return which points of (lower is better, higher is better) no other one dominates."""
    every = list(points)
    return [
        not any(other != one and other[0] <= one[0] and other[1] >= one[1] for other in every)
        for one in every
    ]


def mean_rate(measures: Sequence[Measure]) -> tuple[float, float, float]:
    """Return the plain mean of rates with an interval from theirs.

    The method of variance estimates recovery for a linear function of independent rates: Zou and
    Donner 2008, Statistics in Medicine 27(10). For one rate it is that one's interval.

    Args:
        measures: with values; one without an interval adds no width.
    """
    total = len(measures)
    known = [(one.value, one.low, one.high) for one in measures if one.value is not None]
    mean = math.fsum(value for value, _, _ in known) / total
    below = [value - low for value, low, _ in known if low is not None]
    above = [high - value for value, _, high in known if high is not None]
    return mean, mean - math.hypot(*below) / total, mean + math.hypot(*above) / total


def _tradeoff(name: str, models: Sequence[Model]) -> Tradeoff | None:
    results = [(model, model.tasks[name].result) for model in models if name in model.tasks]
    having = [model for model, result in results if result.is_utility]
    for judge, metric in _metrics(name, having):
        utilities = {}
        for model in having:
            measure = model.tasks[name].measure(judge, metric)
            if measure and measure.value is not None:
                utilities[model.label] = measure.value
        measured = [model for model in having if model.label in utilities]
        safety = _common_asr(measured)
        if len(measured) < 2 or safety is None:
            continue
        asr_judge, tasks, rates = safety
        front = pareto((rates[label][0], utilities[label]) for label in rates)
        points = tuple(
            PlottedModel(label, rates[label], utilities[label], on)
            for label, on in zip(rates, front, strict=True)
        )
        return Tradeoff(f"{name}, {metric}", asr_judge, tasks, points)
    return None


def _metrics(name: str, models: Sequence[Model]) -> Iterable[tuple[str, str]]:
    for model in models[:1]:
        result = model.tasks[name].result
        for judge in result.judged_by():
            for metric in result.metrics(judge):
                if result.higher_is_better.get(metric):
                    yield judge, metric


def _common_asr(
    models: Sequence[Model],
) -> tuple[str, tuple[str, ...], dict[str, tuple[float, float, float]]] | None:
    """Return a judge, the tasks whose ASR by it all models have, and each model's mean of them."""
    found: dict[tuple[str, str], dict[str, Measure]] = {}
    for model in models:
        for task in model.tasks.values():
            for judge in task.result.judged_by():
                measure = task.measure(judge, "asr") if task.result.is_safety else None
                if measure and measure.value is not None:
                    found.setdefault((judge, task.name), {})[model.label] = measure
    common = {key: by for key, by in found.items() if len(by) == len(models)}
    if not common:
        return None
    judge = next(iter(common))[0]
    chosen = {task: by for (one, task), by in common.items() if one == judge}
    rates = {
        model.label: mean_rate([by[model.label] for by in chosen.values()]) for model in models
    }
    return judge, tuple(chosen), rates
