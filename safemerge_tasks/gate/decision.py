"""Every check of a policy decided: one criterion that makes the text and the exit status."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.comparison import Comparison, compare_check, confidence_of
from safemerge_tasks.gate.pairing import Difference, QuestionPair, differences, pair, refuse
from safemerge_tasks.gate.plan import plan
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.results.evaluation import Evaluation
from safemerge_tasks.statistics.decision import Decision, decide_increase, holm
from safemerge_tasks.statistics.power import questions_needed


@dataclass(frozen=True)
class GateResult:
    """All comparisons of a candidate with a baseline."""

    baseline: Evaluation
    candidate: Evaluation
    comparisons: tuple[Comparison, ...]
    accepted: tuple[Difference, ...] = ()

    @property
    def decision(self) -> Decision:
        """The worst of all: a regression, else undecided, else passed."""
        found = {one.decision for one in self.comparisons}
        for decision in (Decision.REGRESSION, Decision.UNDECIDED):
            if decision in found:
                return decision
        return Decision.PASSED

    @property
    def exit_status(self) -> int:
        """0 passed, 1 a regression, 2 undecided."""
        return {Decision.PASSED: 0, Decision.REGRESSION: 1, Decision.UNDECIDED: 2}[self.decision]


def compare(
    baseline: Evaluation, candidate: Evaluation, policy: Policy, accept: Sequence[str] = ()
) -> GateResult:
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
    pairs: dict[tuple[str, str], list[QuestionPair] | None] = {}
    found: list[Difference] = []
    for task, judge in dict.fromkeys((check.task, check.judge) for check in checks):
        sides = baseline.tasks[task], candidate.tasks[task]
        pairs[task, judge] = pair(*(side.scores.get(judge) for side in sides))
        found += differences(task, *sides, judge, pairs[task, judge])
    accepted = refuse(baseline, candidate, found, accept)
    undecided = [
        compare_check(one, pairs[one.task, one.judge], baseline, candidate) for one in checks
    ]
    tested = [one for one in undecided if one.margin is not None]
    adjusted = holm([one.increase.p_value for one in tested])
    family = {id(one): p for one, p in zip(tested, adjusted, strict=True)}
    comparisons = (replace(one, family_p=family.get(id(one))) for one in undecided)
    decided = tuple(_decided(one, len(tested)) for one in comparisons)
    return GateResult(baseline, candidate, decided, tuple(accepted))


def _decided(found: Comparison, family: int) -> Comparison:
    """Return the comparison with its decision; the one place where decisions are made."""
    decision, reason, needed = _decision(found, family)
    return replace(found, decision=decision, reason=reason, needed=needed)


def _decision(found: Comparison, family: int) -> tuple[Decision, str, int | None]:
    """Return the decision, the reason, and how many questions would decide."""
    criteria, increase = found.check.criteria, found.increase
    confidence = confidence_of(found.check)
    worst = max(found.baseline.unscored, found.candidate.unscored)
    if criteria.max_unscored is not None and worst > criteria.max_unscored:
        possible = ""
        if found.possible:
            possible = (
                f"; the change lies between {found.possible[0]:+.1%} and {found.possible[1]:+.1%}"
            )
        reason = f"{worst:.1%} have no verdict, more than {criteria.max_unscored:.1%}{possible}"
        return Decision.UNDECIDED, reason, None
    minimum = criteria.min_questions or 1
    if found.questions < minimum:
        reason = f"{found.questions} questions, fewer than min_questions: {minimum}"
        return Decision.UNDECIDED, reason, minimum
    if criteria.max is not None and found.candidate.value > criteria.max:
        reason = f"{found.candidate.value:.1%} is above max: {criteria.max:.1%}"
        return Decision.REGRESSION, reason, None
    if found.margin is None:
        reason = f"{found.candidate.value:.1%} is within max: {criteria.max:.1%}"
        return Decision.PASSED, reason, None
    decision = decide_increase(increase, found.margin, confidence, found.family_p, family)
    word = "drop" if criteria.max_drop is not None else "increase"
    margin = f"the margin of {found.margin:.1%}"
    if decision is Decision.PASSED:
        return decision, f"the {word} is at most {increase.upper:.1%}, within {margin}", None
    if decision is Decision.REGRESSION:
        if increase.value > found.margin:
            return decision, f"the {word} of {increase.value:.1%} exceeds {margin}", None
        return decision, f"the {word} is at least {increase.lower:.1%}, more than none", None
    needed = questions_needed(increase, found.margin, confidence)
    needed = needed and math.ceil(needed / found.answers_each)
    more = f"; about {needed:,} questions would decide" if needed else ""
    reason = f"the {word} may be up to {increase.upper:.1%}, beyond {margin}{more}"
    return decision, reason, needed
