"""Every check of a policy carried out: one criterion that decides the text and the exit status."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.evaluation import Answer, Evaluation, Rate
from safemerge_tasks.gate.pairing import Difference, Pair, differences, pair, refuse
from safemerge_tasks.gate.plan import Check, plan
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.statistics.clustered import Clustered
from safemerge_tasks.statistics.increase import (
    Increase,
    design_effect,
    paired_increase,
    unpaired_increase,
)
from safemerge_tasks.statistics.intervals import wilson_interval
from safemerge_tasks.statistics.power import questions_needed, smallest_detectable
from safemerge_tasks.statistics.unscored import increase_bounds
from safemerge_tasks.statistics.verdict import Outcome, holm, judge_increase


class Flip(NamedTuple):
    """A question whose outcome is worse in the candidate."""

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
    """One check with its outcome.

    Attributes:
        check: what was asked.
        outcome: what came out.
        reason: why, in one sentence.
        baseline: its value.
        candidate: its value.
        increase: of what is worse: a drop counts as an increase where more is better.
        family_p: the p-value adjusted for all checks with a margin.
        paired: whether the same questions were compared with each other.
        detectable: the smallest increase that this many questions find four times in five.
        needed: how many questions would decide, where these do not.
        possible: the least and largest increase that unscored questions leave possible, if any.
        flips: questions that are worse now, and how many are better.
        better: how many questions are better now.
        answers_each: how many answers a question has.
    """

    check: Check
    outcome: Outcome
    reason: str
    baseline: Side
    candidate: Side
    increase: Increase
    family_p: float | None
    paired: bool
    detectable: float
    needed: int | None = None
    possible: tuple[float, float] | None = None
    flips: tuple[Flip, ...] = ()
    better: int = 0
    answers_each: int = 1

    @property
    def questions(self) -> int:
        """How many questions were compared, however often each was answered."""
        return self.increase.questions // self.answers_each

    @property
    def margin(self) -> float | None:
        """The largest increase that is allowed."""
        limits = self.check.limits
        return limits.max_drop if limits.max_increase is None else limits.max_increase


@dataclass(frozen=True)
class GateReport:
    """All comparisons of a candidate with a baseline."""

    baseline: Evaluation
    candidate: Evaluation
    comparisons: tuple[Comparison, ...]
    accepted: tuple[Difference, ...] = field(default=())

    @property
    def outcome(self) -> Outcome:
        """The worst of all: a regression, else undecided, else passed."""
        found = {one.outcome for one in self.comparisons}
        for outcome in (Outcome.REGRESSION, Outcome.UNDECIDED):
            if outcome in found:
                return outcome
        return Outcome.PASSED

    @property
    def exit_status(self) -> int:
        """0 passed, 1 a regression, 2 undecided."""
        return {Outcome.PASSED: 0, Outcome.REGRESSION: 1, Outcome.UNDECIDED: 2}[self.outcome]


def compare(
    baseline: Evaluation, candidate: Evaluation, policy: Policy, accept: Sequence[str] = ()
) -> GateReport:
    """Compare two evaluations.

    Args:
        baseline: the release to compare with.
        candidate: what is to be released.
        policy: what is asked.
        accept: words for what may differ; see `pairing.ACCEPTABLE`.

    Raises:
        SafemergeError: there is nothing to compare, or it is not comparable.
    """
    checks = plan(policy, baseline, candidate)
    if not checks:
        raise SafemergeError(
            f"{baseline.source} and {candidate.source} have no metric in common whose direction is "
            "known; name tasks and metrics in a policy."
        )
    sources = dict.fromkeys((check.task, check.judge) for check in checks)
    pairs = {key: _pairs(*key, baseline, candidate) for key in sources}
    found = [
        one
        for key in sources
        for one in differences(
            key[0], baseline.tasks[key[0]], candidate.tasks[key[0]], key[1], pairs[key]
        )
    ]
    accepted = refuse(baseline, candidate, found, accept)
    measured = [
        _paired(check, paired, baseline, candidate)
        if (paired := pairs[check.task, check.judge])
        else _unpaired(check, baseline, candidate)
        for check in checks
    ]
    tested = [one for one in measured if one.margin is not None]
    adjusted = holm([one.increase.p_value for one in tested])
    family = {id(one): p for one, p in zip(tested, adjusted, strict=True)}
    return GateReport(
        baseline,
        candidate,
        tuple(_decide(replace(one, family_p=family.get(id(one))), len(tested)) for one in measured),
        tuple(accepted),
    )


def _pairs(task: str, judge: str, baseline: Evaluation, candidate: Evaluation) -> list[Pair] | None:
    tables = [one.tasks[task].tables.get(judge) for one in (baseline, candidate)]
    if tables[0] is None or tables[1] is None:
        return None
    return pair(tables[0], tables[1])


def _paired(
    check: Check, pairs: list[Pair], baseline: Evaluation, candidate: Evaluation
) -> Comparison:
    places = [
        one.tasks[check.task].tables[check.judge].metrics.index(check.metric)
        for one in (baseline, candidate)
    ]
    chosen = [one for one in pairs if check.category in (None, one.candidate.category)]
    old = [_value(one.baseline, places[0]) for one in chosen]
    new = [_value(one.candidate, places[1]) for one in chosen]
    # A question that neither has a value for, and not for want of a verdict, is not part of it.
    part = [
        index
        for index, one in enumerate(chosen)
        if old[index] is not None
        or new[index] is not None
        or one.baseline.unscored
        or one.candidate.unscored
    ]
    scored = [i for i in part if old[i] is not None and new[i] is not None]
    if not scored:
        raise SafemergeError(
            f"{check.task} has no question with a {check.name} by {check.judge} in both "
            f"{baseline.source} and {candidate.source}; run `safemerge judge` on both."
        )
    before, after = [old[i] or 0.0 for i in scored], [new[i] or 0.0 for i in scored]
    labels = [chosen[i].candidate.cluster or i for i in scored]
    sign = -1 if _more_is_better(check, candidate) else 1
    worse_before = before if sign > 0 else [-value for value in before]
    worse_after = after if sign > 0 else [-value for value in after]
    binary = set(before) | set(after) <= {0.0, 1.0}
    if binary and sign < 0:
        worse_before, worse_after = ([1 - value for value in side] for side in (before, after))
    confidence = _confidence(check)
    increase = paired_increase(
        worse_before, worse_after, labels, confidence, check.limits.graded or "t"
    )
    missing = [sum(side[i] is None for i in part) / len(part) for side in (old, new)]
    possible = None
    if any(missing) and all(0 <= value <= 1 for value in (*before, *after)):
        bounds = increase_bounds([old[i] for i in part], [new[i] for i in part])
        possible = bounds if sign > 0 else (-bounds[1], -bounds[0])
    flips = [
        _flip(check.task, chosen[i].candidate)
        for i, was, now in zip(scored, worse_before, worse_after, strict=True)
        if now > was
    ]
    return Comparison(
        check,
        Outcome.UNDECIDED,
        "",
        _side(before, labels, missing[0]),
        _side(after, labels, missing[1]),
        increase,
        None,
        True,
        smallest_detectable(increase, confidence),
        possible=possible,
        flips=tuple(flips),
        better=sum(now < was for was, now in zip(worse_before, worse_after, strict=True)),
        answers_each=candidate.answers_each,
    )


def _value(answer: Answer, place: int) -> float | None:
    return answer.values[place] if place < len(answer.values) else None


def _flip(task: str, answer: Answer) -> Flip:
    return Flip(task, answer.id, answer.category, answer.language, answer.key)


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
    old, new = (_rate(check, one) for one in (baseline, candidate))
    more = _more_is_better(check, candidate)
    old_bad, new_bad = (
        (1 - one.value if more else one.value) * one.questions for one in (old, new)
    )
    confidence = _confidence(check)
    increase = unpaired_increase((old_bad, old.questions), (new_bad, new.questions), confidence)
    sides = [
        Side(one.value, *wilson_interval(one.value * one.questions, one.questions), 0.0)
        for one in (old, new)
    ]
    unscored = [_unscored_rate(check, one) for one in (baseline, candidate)]
    sides = [side._replace(unscored=share) for side, share in zip(sides, unscored, strict=True)]
    return Comparison(
        check,
        Outcome.UNDECIDED,
        "",
        sides[0],
        sides[1],
        increase,
        None,
        False,
        smallest_detectable(increase, confidence),
    )


def _rate(check: Check, evaluation: Evaluation) -> Rate:
    result = evaluation.tasks[check.task]
    rate = result.rates.get(check.judge, {}).get(check.metric)
    table = result.tables.get(check.judge)
    if rate is None and table and check.metric in table.metrics:
        # A frozen baseline has samples only.
        place = table.metrics.index(check.metric)
        values = [v for one in table.answers if (v := _value(one, place)) is not None]
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
    if check.limits.max_drop is not None:
        return True
    if check.limits.max_increase is not None:
        return False
    return candidate.tasks[check.task].higher_is_better.get(check.metric, False)


def _confidence(check: Check) -> float:
    assert check.limits.confidence is not None
    return check.limits.confidence


def _decide(found: Comparison, family: int) -> Comparison:
    """Return the comparison with its outcome; the one place where outcomes are made."""
    limits, increase, confidence = found.check.limits, found.increase, _confidence(found.check)
    worst = max(found.baseline.unscored, found.candidate.unscored)
    if limits.max_unscored is not None and worst > limits.max_unscored:
        possible = ""
        if found.possible:
            possible = (
                f"; the change lies between {found.possible[0]:+.1%} and {found.possible[1]:+.1%}"
            )
        reason = f"{worst:.1%} have no verdict, more than {limits.max_unscored:.1%}{possible}"
        return replace(found, outcome=Outcome.UNDECIDED, reason=reason)
    minimum = limits.min_questions or 1
    if found.questions < minimum:
        reason = f"{found.questions} questions, fewer than min_questions: {minimum}"
        return replace(found, outcome=Outcome.UNDECIDED, reason=reason, needed=minimum)
    if limits.max is not None and found.candidate.value > limits.max:
        reason = f"{found.candidate.value:.1%} is above max: {limits.max:.1%}"
        return replace(found, outcome=Outcome.REGRESSION, reason=reason)
    if found.margin is None:
        reason = f"{found.candidate.value:.1%} is within max: {limits.max:.1%}"
        return replace(found, outcome=Outcome.PASSED, reason=reason)
    outcome = judge_increase(increase, found.margin, confidence, found.family_p, family)
    word = "drop" if limits.max_drop is not None else "increase"
    margin = f"the margin of {found.margin:.1%}"
    if outcome is Outcome.PASSED:
        reason = f"the {word} is at most {increase.upper:.1%}, within {margin}"
        return replace(found, outcome=outcome, reason=reason)
    if outcome is Outcome.REGRESSION:
        if increase.value > found.margin:
            reason = f"the {word} of {increase.value:.1%} exceeds {margin}"
        else:
            reason = f"the {word} is at least {increase.lower:.1%}, more than none"
        return replace(found, outcome=outcome, reason=reason)
    needed = questions_needed(increase, found.margin, confidence)
    needed = needed and math.ceil(needed / found.answers_each)
    more = f"; about {needed:,} questions would decide" if needed else ""
    reason = f"the {word} may be up to {increase.upper:.1%}, beyond {margin}{more}"
    return replace(found, outcome=outcome, reason=reason, needed=needed)
