"""One check measured in both evaluations: paired question by question where there are samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.pairing import QuestionPair
from safemerge_tasks.gate.plan import Check
from safemerge_tasks.results.evaluation import Evaluation, Rate
from safemerge_tasks.statistics.clustered import Clustered
from safemerge_tasks.statistics.decision import Decision
from safemerge_tasks.statistics.increase import (
    Increase,
    design_effect,
    paired_increase,
    unpaired_increase,
)
from safemerge_tasks.statistics.intervals import wilson_interval
from safemerge_tasks.statistics.power import smallest_detectable
from safemerge_tasks.statistics.unscored import increase_bounds


class Flip(NamedTuple):
    """A question whose score is worse in the candidate."""

    task: str
    id: str
    category: str
    language: str
    key: bytes


class Side(NamedTuple):
    """One evaluation's value with its two-sided interval.

    Attributes:
        value: the mean over the questions that count.
        low: lower end; None for a metric that is no rate.
        high: upper end.
        unscored: share of all questions without a verdict.
    """

    value: float
    low: float | None
    high: float | None
    unscored: float


@dataclass(frozen=True)
class Comparison:
    """One check, measured and then decided.

    Attributes:
        check: what was asked.
        baseline: its value.
        candidate: its value.
        increase: of what is worse: a drop counts as an increase where more is better.
        paired: whether the same questions were compared with each other.
        detectable: the smallest increase that this many questions find four times in five.
        possible: the least and largest increase that unscored questions leave possible, if any.
        flips: questions that are worse now.
        better: how many questions are better now.
        answers_each: how many answers a question has.
        family_p: the p-value adjusted for all checks with a margin.
        decision: what `gate.decision` makes of it.
        reason: why, in one sentence.
        needed: how many questions would decide, where these do not.
    """

    check: Check
    baseline: Side
    candidate: Side
    increase: Increase
    paired: bool
    detectable: float
    possible: tuple[float, float] | None = None
    flips: tuple[Flip, ...] = ()
    better: int = 0
    answers_each: int = 1
    family_p: float | None = None
    decision: Decision = Decision.UNDECIDED
    reason: str = ""
    needed: int | None = None

    @property
    def questions(self) -> int:
        """How many questions were compared, however often each was answered."""
        return self.increase.questions // self.answers_each

    @property
    def margin(self) -> float | None:
        """The largest increase that is allowed."""
        criteria = self.check.criteria
        return criteria.max_drop if criteria.max_increase is None else criteria.max_increase


def compare_check(
    check: Check,
    pairs: Sequence[QuestionPair] | None,
    baseline: Evaluation,
    candidate: Evaluation,
) -> Comparison:
    """Measure a check in both evaluations, without deciding it.

    Args:
        check: what is asked.
        pairs: the questions that both have; without any, the two rates are compared.
        baseline: the release to compare with.
        candidate: what is to be released.

    Raises:
        SafemergeError: there is nothing to compare.
    """
    if pairs:
        return _paired(check, pairs, baseline, candidate)
    return _unpaired(check, baseline, candidate)


def confidence_of(check: Check) -> float:
    """Return the confidence of a check's one-sided bounds."""
    assert check.criteria.confidence is not None
    return check.criteria.confidence


def _paired(
    check: Check, pairs: Sequence[QuestionPair], baseline: Evaluation, candidate: Evaluation
) -> Comparison:
    places = [
        one.tasks[check.task].scores[check.judge].metrics.index(check.metric)
        for one in (baseline, candidate)
    ]
    chosen = (
        (old.value(places[0]), new.value(places[1]), old, new)
        for old, new in pairs
        if check.category in (None, new.category)
    )
    # A question that neither has a value for, and not for want of a verdict, is not part of it.
    part = [
        (was, now, new)
        for was, now, old, new in chosen
        if was is not None or now is not None or old.unscored or new.unscored
    ]
    scored = [
        (was, now, question) for was, now, question in part if was is not None and now is not None
    ]
    if not scored:
        raise SafemergeError(
            f"{check.task} has no question with a {check.name} by {check.judge} in both "
            f"{baseline.source} and {candidate.source}; run `safemerge judge` on both."
        )
    before, after = [was for was, _, _ in scored], [now for _, now, _ in scored]
    labels = [question.cluster or number for number, (_, _, question) in enumerate(scored)]
    more = _more_is_better(check, candidate)
    binary = set(before) | set(after) <= {0.0, 1.0}
    worse_before, worse_after = (_worse(side, more=more, binary=binary) for side in (before, after))
    confidence = confidence_of(check)
    increase = paired_increase(
        worse_before, worse_after, labels, confidence, check.criteria.graded or "t"
    )
    missing = [sum(one[side] is None for one in part) / len(part) for side in (0, 1)]
    possible = None
    if any(missing) and all(0 <= value <= 1 for value in (*before, *after)):
        least, largest = increase_bounds([was for was, _, _ in part], [now for _, now, _ in part])
        possible = (-largest, -least) if more else (least, largest)
    flips = [
        Flip(check.task, question.id, question.category, question.language, question.key)
        for (_, _, question), was, now in zip(scored, worse_before, worse_after, strict=True)
        if now > was
    ]
    return Comparison(
        check,
        _side(before, labels, missing[0]),
        _side(after, labels, missing[1]),
        increase,
        True,
        smallest_detectable(increase, confidence),
        possible,
        tuple(flips),
        sum(now < was for was, now in zip(worse_before, worse_after, strict=True)),
        candidate.answers_each,
    )


def _worse(values: list[float], *, more: bool, binary: bool) -> list[float]:
    """Return values of which less is better."""
    if not more:
        return values
    return [1 - value if binary else -value for value in values]


def _side(values: list[float], labels: Sequence[object], unscored: float) -> Side:
    """Return a mean with Wilson's interval on the effective number of questions."""
    grouped = Clustered.of(values, labels)
    mean = grouped.mean
    if not 0 <= min(values) <= max(values) <= 1:
        return Side(mean, None, None, unscored)
    effective = len(values) / design_effect(grouped)
    return Side(mean, *wilson_interval(mean * effective, effective), unscored)


def _unpaired(check: Check, baseline: Evaluation, candidate: Evaluation) -> Comparison:
    if check.category:
        raise SafemergeError(
            f"{check.task} has no samples, so no categories; run lm_eval again with --log_samples."
        )
    more = _more_is_better(check, candidate)
    confidence = confidence_of(check)
    rates = [_rate(check, one) for one in (baseline, candidate)]
    counts = [
        ((1 - one.value if more else one.value) * one.questions, one.questions) for one in rates
    ]
    increase = unpaired_increase(counts[0], counts[1], confidence)
    old, new = (
        Side(
            rate.value,
            *wilson_interval(rate.value * rate.questions, rate.questions),
            _unscored_rate(check, evaluation),
        )
        for rate, evaluation in zip(rates, (baseline, candidate), strict=True)
    )
    detectable = smallest_detectable(increase, confidence)
    return Comparison(check, old, new, increase, False, detectable)


def _rate(check: Check, evaluation: Evaluation) -> Rate:
    result = evaluation.tasks[check.task]
    rate = result.rates.get(check.judge, {}).get(check.metric)
    scores = result.scores.get(check.judge)
    if rate is None and scores and check.metric in scores.metrics:
        # A frozen baseline has samples only.
        place = scores.metrics.index(check.metric)
        values = [value for one in scores.questions if (value := one.value(place)) is not None]
        rate = Rate(sum(values) / max(len(values), 1), len(values))
    if rate is None or not rate.questions or not 0 <= rate.value <= 1:
        raise SafemergeError(
            f"{evaluation.source} has no samples of {check.task}, and its {check.name} is not a "
            "rate over a known number of questions; run lm_eval again with --log_samples."
        )
    return rate


def _unscored_rate(check: Check, evaluation: Evaluation) -> float:
    rates = evaluation.tasks[check.task].rates.get(check.judge, {})
    return rates["unscored_rate"].value if "unscored_rate" in rates else 0.0


def _more_is_better(check: Check, candidate: Evaluation) -> bool:
    if check.criteria.max_drop is not None:
        return True
    if check.criteria.max_increase is not None:
        return False
    return candidate.tasks[check.task].higher_is_better.get(check.metric, False)
