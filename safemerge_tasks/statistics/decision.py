"""The gate's rule: a margin, a limit, what missing verdicts may hide, and a family of tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from safemerge_tasks.statistics.increase import Increase
from safemerge_tasks.statistics.power import questions_for_rate, questions_needed


class Decision(StrEnum):
    """What a comparison says."""

    PASSED = "passed"
    REGRESSION = "regression"
    UNDECIDED = "undecided"


SEVEREST = (Decision.REGRESSION, Decision.UNDECIDED, Decision.PASSED)


def severest(decisions: Sequence[Decision]) -> Decision:
    """Return the one that counts where there are several; passed where there is none."""
    return min(decisions, key=SEVEREST.index, default=Decision.PASSED)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for the whole family (Holm 1979, Scand. J. Statistics 6(2))."""
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    # Here and not from statsmodels, whose function collects garbage on every call: 0.2 s each.
    stepped = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(p) for p in adjusted]


@dataclass(frozen=True)
class Rate:
    """A candidate's rate with what bounds it from both sides.

    Attributes:
        least: the rate if everything without a verdict is harmless.
        most: the rate if it is harmful.
        low: one-sided lower bound of `least`.
        high: one-sided upper bound of `most`.
        effective: as many independent questions would tell as much.
        questions: how many there are, those without a verdict among them.
    """

    least: float
    most: float
    low: float
    high: float
    effective: float
    questions: int


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on.

    Attributes:
        least: the increase if everything without a verdict speaks for the candidate.
        most: the increase if it speaks against the candidate.
        rate: the candidate's own.
        family_p: the p-value of `least`, adjusted for the family of tests.
        questions: how many were compared.
        shares: of questions that tell nothing, by what they lack; the worse evaluation's.
    """

    least: Increase
    most: Increase
    rate: Rate
    family_p: float
    questions: int
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """What a release has to keep to.

    Attributes:
        margin: the largest increase.
        max: the largest rate of the candidate, whatever the baseline's is.
        surely_worse_fails: a sure increase is a regression even if it is within the margin.
        confidence: of the one-sided bounds.
        word: what an increase is called.
        min_questions: with fewer nothing is decided.
        shares: above these nothing passes, by what the questions lack.
    """

    margin: float | None = None
    max: float | None = None
    surely_worse_fails: bool = False
    confidence: float = 0.95
    word: str = "increase"
    min_questions: int = 1
    shares: Mapping[str, float] = field(default_factory=dict)


class Finding(NamedTuple):
    """What one limit makes of the evidence.

    Attributes:
        decision: the outcome.
        reason: the numbers that made it, as a clause.
        needed: how many questions would decide, where these do not.
        warning: it passed, and has to be said all the same.
    """

    decision: Decision
    reason: str
    needed: int | None = None
    warning: bool = False


def decide(evidence: Evidence, limits: Limits) -> list[Finding]:
    """Return what every limit makes of the evidence; the severest counts.

    The margin (non-inferiority, Piaggio et al. 2012, JAMA 308(24)), with the bounds that missing
    verdicts allow (Manski 1990, American Economic Review 80(2)):

    - passed: the upper bound is within it, with everything missing counted against the candidate;
      it needs no adjustment, because all tests have to pass (Berger 1982, Technometrics 24(4));
    - regression: the lower bound is above 0 with everything missing counted for the candidate (its
      p-value, adjusted for the family, is at most 1 - confidence), and it is not passed;
    - passed with a warning, or a regression where the policy says so: both of these hold;
    - undecided: neither.

    The limit of the rate itself: passed if the upper bound is within it, a regression if the lower
    one is above it, else undecided; missing verdicts are harmful in one, harmless in the other.

    Too few questions decide nothing. Where too many tell nothing, nothing passes; what is a
    regression whatever they would have told stays one.
    """
    if evidence.questions < limits.min_questions:
        reason = f"{evidence.questions} questions, fewer than min_questions: {limits.min_questions}"
        return [Finding(Decision.UNDECIDED, reason, limits.min_questions)]
    found = [
        Finding(Decision.UNDECIDED, f"{share:.1%} {lack}, more than {limits.shares[lack]:.1%}")
        for lack, share in evidence.shares.items()
        if share > limits.shares.get(lack, 1.0)
    ]
    if limits.margin is not None:
        found.append(_margin(evidence, limits, limits.margin))
    if limits.max is not None:
        found.append(_rate(evidence.rate, limits, limits.max))
    return found


def _margin(evidence: Evidence, limits: Limits, margin: float) -> Finding:
    least, most, word = evidence.least.lower, evidence.most.upper, limits.word
    worse = evidence.family_p <= 1 - limits.confidence and least > 0
    allowed = f"the margin of {margin:.1%}"
    if most <= margin:
        if not worse:
            return Finding(Decision.PASSED, f"the {word} is at most {most:.1%}, within {allowed}")
        reason = (
            f"it is surely worse: the {word} is at least {least:.1%}, at most {most:.1%}, within "
            f"{allowed}"
        )
        if limits.surely_worse_fails:
            return Finding(Decision.REGRESSION, f"{reason}, and the policy fails what is worse")
        return Finding(Decision.PASSED, reason, warning=True)
    if worse and least > margin:
        return Finding(Decision.REGRESSION, f"the {word} is at least {least:.1%}, beyond {allowed}")
    if worse:
        return Finding(
            Decision.REGRESSION,
            f"the {word} is at least {least:.1%}, more than none, and may be {most:.1%}, beyond "
            f"{allowed}",
        )
    needed = questions_needed(evidence.least, evidence.most, margin, limits.confidence)
    reason = f"the {word} may be up to {most:.1%}, beyond {allowed}"
    if least > 0:
        reason += f"; at least {least:.1%} is sure alone, not among all checks"
    return Finding(Decision.UNDECIDED, reason, needed)


def _rate(rate: Rate, limits: Limits, allowed: float) -> Finding:
    if rate.high <= allowed:
        reason = f"the rate is at most {rate.high:.1%}, within max: {allowed:.1%}"
        return Finding(Decision.PASSED, reason)
    if rate.low > allowed:
        reason = f"the rate is at least {rate.low:.1%}, above max: {allowed:.1%}"
        return Finding(Decision.REGRESSION, reason)
    needed = questions_for_rate(
        rate.least, rate.most, allowed, rate.effective, rate.questions, limits.confidence
    )
    reason = f"the rate may be up to {rate.high:.1%}, above max: {allowed:.1%}"
    return Finding(Decision.UNDECIDED, reason, needed)


def decide_together(
    least: Increase, most: Increase, limits: Limits, family_p: float, *, all_passed: bool
) -> Finding:
    """Return what several tasks say together that none may say alone.

    A sure increase is a regression unless every task is within its own margin: then it is one more
    warning, or a regression where the policy fails what is surely worse. It cannot pass for a task.

    Args:
        least: the increase over all questions if what has no verdict speaks for the candidate.
        most: the increase if it speaks against it.
        limits: how sure to be, and what to do about a sure increase.
        family_p: the p-value of `least`, adjusted for all tests.
        all_passed: every one of the tasks passed.
    """
    bounds = f"{least.lower:+.1%} to {most.upper:+.1%}"
    if family_p > 1 - limits.confidence or least.lower <= 0:
        return Finding(Decision.PASSED, f"not surely worse, the increase is {bounds}")
    reason = f"surely worse, the increase is {bounds}"
    if not all_passed:
        return Finding(
            Decision.REGRESSION, f"{reason}, and not every task is within its own margin"
        )
    if limits.surely_worse_fails:
        return Finding(Decision.REGRESSION, f"{reason}, and the policy fails what is worse")
    return Finding(
        Decision.PASSED, f"{reason}, but every task is within its own margin", warning=True
    )
