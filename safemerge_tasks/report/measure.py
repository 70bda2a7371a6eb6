"""One metric of one task: its value, its interval, and what both rest on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safemerge_tasks.metrics.asr import UNSCORED_LIMIT, asr_bounds
from safemerge_tasks.results.evaluation import MOST, ScoredQuestion
from safemerge_tasks.statistics import wilson_interval
from safemerge_tasks.statistics.clustered import Clustered, t_bounds
from safemerge_tasks.statistics.fixed_part import fixed_part_effect
from safemerge_tasks.statistics.increase import design_effect

SAMPLES = "samples"
COUNTS = "counts"
STDERR = "standard error"
VALUE = "value only"

NORMAL = 1.959964
"""The normal quantile of a two-sided 95 % interval."""

CONFIDENCE = 0.95
"""Of the two-sided intervals."""


@dataclass(frozen=True)
class Measure:
    """A metric with its 95 % interval.

    Attributes:
        value: the mean over the questions with a verdict; None where there is none.
        low: lower end; None where nothing tells it.
        high: upper end.
        hits: how many questions count, where each counts or does not.
        scored: questions with a verdict.
        total: all of them.
        source: what it was computed from.
        design_effect: by how much dependent questions count as fewer.
    """

    value: float | None
    low: float | None
    high: float | None
    hits: int | None
    scored: int
    total: int
    source: str
    design_effect: float = 1.0

    @property
    def unscored(self) -> int:
        """Questions without a verdict."""
        return self.total - self.scored

    @property
    def too_many_unscored(self) -> bool:
        """Whether the value needs its bounds beside it."""
        return self.unscored > UNSCORED_LIMIT * self.total

    @property
    def possible(self) -> tuple[float, float] | None:
        """The least and largest value that the unscored questions leave possible."""
        if self.hits is None or not self.total:
            return None
        return asr_bounds(self.hits, self.scored, self.total)


def from_questions(
    questions: Sequence[ScoredQuestion],
    place: int,
    *,
    reverse: bool = False,
    confidence: float = CONFIDENCE,
    stands_for: float = 1.0,
) -> Measure | None:
    """Return a metric over questions; None if it is not about any of them.

    Rates of yes and no have Wilson's interval on the effective number of questions, as in the gate;
    graded ones a t interval with the clustered standard error.

    Args:
        questions: those that are meant.
        place: of the metric among their values.
        reverse: measure one minus the metric.
        confidence: of the two-sided interval.
        stands_for: how many of the suite's questions each stands for; see `fixed_part_effect`.
    """
    values: list[float] = []
    labels: list[object] = []
    total, partly = 0, 0.0
    for number, question in enumerate(questions):
        value = question.value(place)
        # Without a value, and not for want of a verdict, a question is not part of the metric.
        total += value is not None or question.unscored > 0
        if value is not None:
            values.append(1 - value if reverse else value)
            partly += question.unscored
            labels.append(question.cluster or number)
    if not total:
        return None
    if not values:
        return Measure(None, None, None, 0, 0, total, SAMPLES)
    grouped = Clustered.of(values, labels)
    # Of several answers some may have no verdict: as many questions as they amount to have none.
    scored = len(values) - math.ceil(partly - 1e-9)
    if set(values) <= {0.0, 1.0}:
        effect = design_effect(grouped)
        effective = len(values) / effect
        effective /= fixed_part_effect(effective, stands_for, confidence)
        interval = wilson_interval(grouped.mean * effective, effective, confidence)
        hits = None if partly else int(sum(values))
        return Measure(grouped.mean, *interval, hits, scored, total, SAMPLES, effect)
    low, high = t_bounds(grouped, (1 + confidence) / 2)
    known = math.isfinite(low)
    wider = math.sqrt(fixed_part_effect(len(grouped.sums), stands_for, confidence))
    low, high = (grouped.mean + wider * (end - grouped.mean) for end in (low, high))
    return Measure(
        grouped.mean,
        low if known else None,
        high if known else None,
        None,
        scored,
        total,
        SAMPLES,
    )


def from_counts(counts: Mapping[str, Any], stands_for: float = 1.0) -> Measure | None:
    """Return a rate from the counts that safemerge stores beside it; None if they do not add up."""
    try:
        hits, scored, total = (int(counts[key]) for key in ("harmful", "scored", "total"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not 0 <= hits <= scored <= total <= MOST or not total:
        return None
    if not scored:
        return Measure(None, None, None, 0, 0, total, COUNTS)
    fewer = fixed_part_effect(scored, stands_for)
    interval = wilson_interval(hits / fewer, scored / fewer)
    return Measure(hits / scored, *interval, hits, scored, total, COUNTS)


def from_error(
    value: float,
    error: object,
    questions: int,
    unscored: float = 0.0,
    *,
    reverse: bool = False,
    stands_for: float = 1.0,
) -> Measure:
    """Return a mean with the normal interval of its standard error, where there is one.

    Args:
        value: as the results file has it.
        error: its standard error; lm-eval writes "N/A" where it has none.
        questions: how many there were.
        unscored: the share of them without a verdict.
        reverse: measure one minus the value.
        stands_for: how many of the suite's questions each stands for.
    """
    value = 1 - value if reverse else value
    scored = questions - round(questions * unscored)
    if not isinstance(error, (int, float)) or not math.isfinite(error):
        return Measure(value, None, None, None, scored, questions, VALUE)
    fewer = fixed_part_effect(scored, stands_for)
    # A rate of 0 or 1 has a standard error of 0, which is not certainty.
    if error == 0 and value in (0.0, 1.0) and scored:
        ends = wilson_interval(value * scored / fewer, scored / fewer)
    else:
        reach = NORMAL * error * math.sqrt(fewer)
        ends = (value - reach, value + reach)
    return Measure(value, *ends, None, scored, questions, STDERR)
