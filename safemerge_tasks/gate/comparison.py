"""One check measured in both evaluations: paired question by question where there are samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.pairing import QuestionPair
from safemerge_tasks.gate.plan import Check
from safemerge_tasks.results.category_rows import same_row
from safemerge_tasks.results.evaluation import Evaluation, ScoredQuestion
from safemerge_tasks.results.evaluation import Rate as StoredRate
from safemerge_tasks.results.loading import EMPTY
from safemerge_tasks.statistics.clustered import Clustered, Values, t_bounds
from safemerge_tasks.statistics.decision import Decision, Rate
from safemerge_tasks.statistics.fixed_part import fixed_part_effect
from safemerge_tasks.statistics.grade import Grade
from safemerge_tasks.statistics.increase import (
    Increase,
    design_effect,
    paired_increase,
    rate_bounds,
    unpaired_increase,
)
from safemerge_tasks.statistics.intervals import clopper_pearson_interval, wilson_interval
from safemerge_tasks.statistics.power import smallest_detectable
from safemerge_tasks.statistics.unscored import Filled, Outcomes, either_way

TRUNCATED = "truncated_rate"

Flags = npt.NDArray[np.bool_]


class Flip(NamedTuple):
    """A question whose score is worse in the candidate."""

    task: str
    id: str
    category: str
    language: str
    key: bytes


class NothingToCompareError(SafemergeError):
    """No question of a check is told in both evaluations."""


class Side(NamedTuple):
    """One evaluation's value with its two-sided interval.

    Attributes:
        value: the mean over the questions that count.
        low: lower end; None for a metric that is no rate.
        high: upper end.
        unscored: share of all answers without a verdict, or without anything to judge.
        empty: share of them with nothing in them.
        cut: share of them that reached the token limit; None where nothing says so.
    """

    value: float
    low: float | None
    high: float | None
    unscored: float
    empty: float
    cut: float | None


class Paired(NamedTuple):
    """The outcomes behind a comparison, of which less is better, with nothing missing.

    Attributes:
        least: both evaluations' if everything without a verdict speaks for the candidate.
        most: both if it speaks against it.
        labels: equal for questions that are not independent, in other tasks of the suite as well.
    """

    least: Filled
    most: Filled
    labels: list[object]


@dataclass(frozen=True)
class Comparison:
    """One check, measured and then decided.

    Attributes:
        check: what was asked.
        baseline: its value.
        candidate: its value.
        increase: of what is worse, over the questions with both verdicts: a drop counts as an
            increase where more is better.
        least: the increase if everything without a verdict speaks for the candidate.
        most: the increase if it speaks against it.
        rate: the candidate's own, bounded from both sides.
        paired: whether the same questions were compared with each other.
        detectable: the smallest increase that this many questions find four times in five.
        possible: the least and largest increase that unscored questions leave possible, if any.
        flips: questions that are worse now.
        better: how many questions are better now.
        answers_each: how many answers a question has.
        family_p: the p-value of `least`, adjusted for all checks with a margin.
        decision: what `statistics.decision.decide` makes of it.
        reason: why, in one sentence.
        needed: how many questions would decide, where these do not.
        warning: it passed, and yet something has to be said.
        grade: of the candidate against the baseline, where the metric is a share of harm.
        outcomes: what was compared; None without pairs, or for a metric that is no rate.
    """

    check: Check
    baseline: Side
    candidate: Side
    increase: Increase
    least: Increase
    most: Increase
    rate: Rate
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
    warning: bool = False
    grade: Grade | None = None
    outcomes: Paired | None = field(default=None, repr=False, compare=False)

    @property
    def blocks(self) -> bool:
        """Whether what does not pass keeps the release back."""
        return self.check.criteria.tier in (None, "block")

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
        NothingToCompareError: no question has an answer and a verdict in both.
        SafemergeError: there are no rates to compare.
    """
    if pairs:
        return _paired(check, pairs, baseline, candidate)
    return _unpaired(check, baseline, candidate)


def confidence_of(check: Check) -> float:
    """Return the confidence of a check's one-sided bounds."""
    assert check.criteria.confidence is not None
    return check.criteria.confidence


class _Part(NamedTuple):
    """The questions that a check is about.

    Attributes:
        before: the baseline's outcomes.
        after: the candidate's.
        asked: the baseline's questions.
        questions: the candidate's.
        labels: equal for questions that are not independent.
    """

    before: Outcomes
    after: Outcomes
    asked: list[ScoredQuestion]
    questions: list[ScoredQuestion]
    labels: list[object]


def _paired(
    check: Check, pairs: Sequence[QuestionPair], baseline: Evaluation, candidate: Evaluation
) -> Comparison:
    part = _part(check, pairs, baseline, candidate)
    full = ~(np.isnan(part.before.values) | np.isnan(part.after.values))
    if not full.any():
        raise NothingToCompareError(
            f"{check.task} has no question with an answer and a {check.name} by {check.judge} in "
            f"both {baseline.source} and {candidate.source}; run `safemerge judge` on both, or "
            "look at what the models wrote."
        )
    both = np.concatenate([part.before.values, part.after.values])
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    bounded = low >= 0 and high <= 1
    if bounded:
        low, high = 0.0, 1.0
    # Of these less is better.
    old, new = part.before, part.after
    if _more_is_better(check, candidate):
        old, new = (one._replace(values=low + high - one.values) for one in (old, new))
    was, now = old.values, new.values
    confidence = confidence_of(check)

    def increase(old: Values, new: Values, labels: list[object]) -> Increase:
        return paired_increase(old, new, labels, confidence, check.criteria.graded or "t")

    scored = [label for label, one in zip(part.labels, full, strict=True) if one]
    found = least = most = increase(was[full], now[full], scored)
    filled = either_way(old, new, low, high)
    whole = not (old.lost.any() or new.lost.any())
    if not whole:
        least, most = (increase(*one, part.labels) for one in filled)
    # Of a whole suite beside a part of it, the part's questions are compared.
    each = max(one.tasks[check.task].stands_for for one in (baseline, candidate))

    def side(evaluation: Evaluation, found: Outcomes, asked: list[ScoredQuestion]) -> Side:
        lacks = _lacks(check, evaluation, asked)
        return _side(found, full, scored, lacks, each if bounded else None)

    flipped = [part.questions[place] for place in np.flatnonzero(now > was)]
    return Comparison(
        check,
        side(baseline, part.before, part.asked),
        side(candidate, part.after, part.questions),
        found,
        least,
        most,
        _rate(part, low, high, confidence, candidate.answers_each),
        paired=True,
        detectable=smallest_detectable(found, confidence),
        possible=None if whole else (least.value, most.value),
        flips=tuple(
            Flip(check.task, one.id, one.category, one.language, one.key) for one in flipped
        ),
        better=int((now < was).sum()),
        answers_each=candidate.answers_each,
        outcomes=Paired(*filled, [one.cluster or one.id for one in part.questions])
        if bounded
        else None,
    )


def _part(
    check: Check, pairs: Sequence[QuestionPair], baseline: Evaluation, candidate: Evaluation
) -> _Part:
    old_place, new_place = (_place(check, one) for one in (baseline, candidate))
    before: list[tuple[float | None, float]] = []
    after: list[tuple[float | None, float]] = []
    asked, questions = [], []
    judged = candidate.tasks[check.task].asks_questions
    for old, new in pairs:
        was, now = old.value(old_place), new.value(new_place)
        # Without a value on both sides, and not for want of a verdict, it is not part of it.
        part = was is not None or now is not None or old.unscored or new.unscored
        wanted = check.category in (None, new.category) and check.language in (None, new.language)
        if part and wanted:
            before.append(_told(check.metric, was, old, judged=judged))
            after.append(_told(check.metric, now, new, judged=judged))
            asked.append(old)
            questions.append(new)
    labels: list[object] = [one.cluster or number for number, one in enumerate(questions)]
    first, second = (Outcomes(*np.array(one, float).reshape(-1, 2).T) for one in (before, after))
    return _Part(first, second, asked, questions, labels)


def _told(
    metric: str, value: float | None, question: ScoredQuestion, *, judged: bool
) -> tuple[float | None, float]:
    """Return the mean of the answers that tell something, and which share of them does not."""
    # No answer is neither harmful nor harmless, whatever the judge made of it.
    empty = 1 - question.answered if judged else 0.0
    lost = min(question.unscored + empty, 1.0)
    if value is None or lost == 1:
        return None, 1.0
    if not lost:
        return value, 0.0
    if metric.startswith("hit@"):
        return value, 1.0  # no mean: one answer may make all the difference
    # What an empty answer counted as.
    counted = 1.0 if metric == "refusal_rate" else 0.0
    told = (value * (1 - question.unscored) - empty * counted) / (1 - lost)
    return min(max(told, min(value, 0.0)), max(value, 1.0)), lost


def _place(check: Check, evaluation: Evaluation) -> int:
    """Return where the metric's values are; beyond them where not one question was scored."""
    metrics = evaluation.tasks[check.task].scores[check.judge].metrics
    return metrics.index(check.metric) if check.metric in metrics else len(metrics)


class _Lacks(NamedTuple):
    """Shares of questions without an answer, and with one that was cut."""

    empty: float
    cut: float | None


def _lacks(check: Check, evaluation: Evaluation, questions: Sequence[ScoredQuestion]) -> _Lacks:
    metrics = evaluation.tasks[check.task].scores[check.judge].metrics
    cut = None
    if TRUNCATED in metrics:
        place = metrics.index(TRUNCATED)
        cut = sum(one.value(place) or 0.0 for one in questions) / len(questions)
    return _Lacks(sum(1 - one.answered for one in questions) / len(questions), cut)


def _side(
    found: Outcomes,
    full: Flags,
    labels: Sequence[object],
    lacks: _Lacks,
    stands_for: float | None,
) -> Side:
    """Return a mean, with Wilson's interval on the effective number of questions of a rate.

    Args:
        found: one a question.
        full: where both evaluations have one.
        labels: of those questions.
        lacks: what is said besides.
        stands_for: how many of the suite's questions each stands for; None for what is no rate.
    """
    grouped = Clustered.of(found.values[full], labels)
    unscored = float(found.lost.mean())
    if stands_for is None:
        return Side(grouped.mean, None, None, unscored, *lacks)
    effective = grouped.total / design_effect(grouped)
    effective /= fixed_part_effect(effective, stands_for)
    interval = wilson_interval(grouped.mean * effective, effective)
    return Side(grouped.mean, *interval, unscored, *lacks)


def _rate(part: _Part, low: float, high: float, confidence: float, answers_each: int) -> Rate:
    """Return the candidate's rate with its exact bounds, or t bounds of what is no rate."""
    least, most = (Clustered.of(end, part.labels) for end in part.after.ends(low, high))
    bounds = rate_bounds if (low, high) == (0, 1) else t_bounds
    return Rate(
        least.mean,
        most.mean,
        bounds(least, confidence)[0],
        bounds(most, confidence)[1],
        most.total / design_effect(most),
        most.total // answers_each,
    )


def _unpaired(check: Check, baseline: Evaluation, candidate: Evaluation) -> Comparison:
    if check.category:
        scored = all(check.judge in one.tasks[check.task].scores for one in (baseline, candidate))
        why = "has no question that both evaluations asked" if scored else "has no samples"
        raise SafemergeError(
            f"{check.task} {why}, so no categories can be compared; run lm_eval again on the "
            "same questions with --log_samples."
        )
    more = _more_is_better(check, candidate)
    confidence = confidence_of(check)
    rates = [_stored(check, one) for one in (baseline, candidate)]
    shares = [_unscored_rate(check, one) for one in (baseline, candidate)]
    lacks = [_stored_lacks(check, one) for one in (baseline, candidate)]
    counts = [
        ((1 - one.value if more else one.value) * one.questions, one.questions) for one in rates
    ]
    # As many again without a verdict as make up their share.
    gaps = [one.questions * share / (1 - share) for one, share in zip(rates, shares, strict=True)]
    increase = least = most = unpaired_increase(counts[0], counts[1], confidence)
    (old_hits, old_total), (new_hits, new_total) = counts
    old_all, new_all = old_total + gaps[0], new_total + gaps[1]
    if any(gaps):
        least = unpaired_increase((old_hits + gaps[0], old_all), (new_hits, new_all), confidence)
        most = unpaired_increase((old_hits, old_all), (new_hits + gaps[1], new_all), confidence)
    effects = [
        fixed_part_effect(rate.questions, one.tasks[check.task].stands_for)
        for rate, one in zip(rates, (baseline, candidate), strict=True)
    ]
    old, new = (
        Side(
            rate.value,
            *wilson_interval(rate.value * rate.questions / fewer, rate.questions / fewer),
            share,
            *lacking,
        )
        for rate, share, lacking, fewer in zip(rates, shares, lacks, effects, strict=True)
    )
    hits = rates[1].value * new_total
    double = 2 * confidence - 1
    bounds = Rate(
        hits / new_all,
        (hits + gaps[1]) / new_all,
        clopper_pearson_interval(hits, new_all, double)[0],
        clopper_pearson_interval(hits + gaps[1], new_all, double)[1],
        new_all,
        new_total,
    )
    return Comparison(
        check,
        old,
        new,
        increase=increase,
        least=least,
        most=most,
        rate=bounds,
        paired=False,
        detectable=smallest_detectable(increase, confidence),
        possible=(least.value, most.value) if any(gaps) else None,
    )


def _stored(check: Check, evaluation: Evaluation) -> StoredRate:
    result = evaluation.tasks[check.task]
    rates = result.rates.get(check.judge, {})
    rate = rates.get(same_row(check.metric, rates) or check.metric)
    scores = result.scores.get(check.judge)
    if rate is None and scores and check.metric in scores.metrics:
        # A frozen baseline has samples only.
        place = scores.metrics.index(check.metric)
        values = [value for one in scores.questions if (value := one.value(place)) is not None]
        rate = StoredRate(sum(values) / max(len(values), 1), len(values))
    if rate is None or not rate.questions or not 0 <= rate.value <= 1:
        raise SafemergeError(
            f"{evaluation.source} has no samples of {check.task}, and its {check.name} is not a "
            "rate over a known number of questions; run lm_eval again with --log_samples."
        )
    return rate


def _unscored_rate(check: Check, evaluation: Evaluation) -> float:
    """Return the share without a verdict, below 1 where there is a rate."""
    rates = evaluation.tasks[check.task].rates.get(check.judge, {})
    share = rates["unscored_rate"].value if "unscored_rate" in rates else 0.0
    return share if 0 <= share < 1 else 0.0


def _stored_lacks(check: Check, evaluation: Evaluation) -> _Lacks:
    rates = evaluation.tasks[check.task].rates.get(check.judge, {})
    return _Lacks(
        rates[EMPTY].value if EMPTY in rates else 0.0,
        rates[TRUNCATED].value if TRUNCATED in rates else None,
    )


def _more_is_better(check: Check, candidate: Evaluation) -> bool:
    if check.criteria.max_drop is not None:
        return True
    if check.criteria.max_increase is not None:
        return False
    return candidate.tasks[check.task].higher_is_better.get(check.metric, False)
