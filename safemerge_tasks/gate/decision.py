"""Every check of a policy decided; `statistics.decision` makes the text and the exit status."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.attacked import attacked
from safemerge_tasks.gate.comparison import (
    Comparison,
    NothingToCompareError,
    compare_check,
    confidence_of,
)
from safemerge_tasks.gate.pairing import Difference, QuestionPair, differences, pair, refuse
from safemerge_tasks.gate.plan import Alone, Check, alone, missing_tasks, plan
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.results.evaluation import MAIN, Evaluation, TaskResult
from safemerge_tasks.statistics.decision import (
    Decision,
    Evidence,
    Finding,
    Limits,
    decide,
    decide_together,
    holm,
    severest,
)
from safemerge_tasks.statistics.grade import Grade, grade
from safemerge_tasks.statistics.increase import Increase, paired_increase
from safemerge_tasks.statistics.unscored import Filled

UNSCORED = "have no verdict or no answer"
EMPTY = "of the answers are empty"
CUT = "of the answers were cut at the token limit"
UNKNOWN_CUT = (
    "how many answers were cut at the token limit is not known of both, so max_truncated decides "
    "nothing; evaluate both anew, or remove it"
)


class Untold(NamedTuple):
    """A check about which these results say nothing, such as one of empty answers only."""

    check: Check
    reason: str

    @property
    def blocks(self) -> bool:
        """Whether it keeps the release back."""
        return self.check.criteria.tier in (None, "block")


class Together(NamedTuple):
    """All harm of all blocking safety tasks, as one test.

    Attributes:
        tasks: which.
        least: the increase if everything without a verdict speaks for the candidate.
        most: the increase if it speaks against it.
        family_p: the p-value of `least`, adjusted like those of the tasks.
        found: what it says.
    """

    tasks: tuple[str, ...]
    least: Increase
    most: Increase
    family_p: float
    found: Finding


@dataclass(frozen=True)
class GateResult:
    """All comparisons of a candidate with a baseline.

    Attributes:
        baseline: the release.
        candidate: what is to be released.
        comparisons: in the policy's order.
        accepted: what differs and was let pass.
        missing: tasks that the policy names and the candidate lacks.
        untold: checks without a question that could be compared.
        together: what the safety tasks say together, where there are several.
        alone: verdicts that only one of the two has, and nobody asked for.
    """

    baseline: Evaluation
    candidate: Evaluation
    comparisons: tuple[Comparison, ...]
    accepted: tuple[Difference, ...] = ()
    missing: tuple[str, ...] = ()
    untold: tuple[Untold, ...] = ()
    together: Together | None = None
    alone: tuple[Alone, ...] = ()

    @property
    def checks(self) -> list[Check]:
        """All that was asked of both."""
        return [one.check for one in self.comparisons] + [one.check for one in self.untold]

    @property
    def decision(self) -> Decision:
        """The worst of all that blocks: a regression, else undecided, else passed."""
        found = [one.decision for one in self.comparisons if one.blocks]
        found += [Decision.UNDECIDED] * len(self.missing)
        found += [Decision.UNDECIDED for one in self.untold if one.blocks]
        if self.together:
            found.append(self.together.found.decision)
        return severest(found)

    @property
    def warnings(self) -> int:
        """How many things did not keep the release back and have to be said all the same."""
        together = self.together is not None and self.together.found.warning
        untold = sum(one.check.criteria.tier == "warn" for one in self.untold)
        return sum(one.warning for one in self.comparisons) + untold + together

    @property
    def grade(self) -> Grade | None:
        """The lowest of all tasks."""
        return min((one.grade for one in self.comparisons if one.grade), default=None)

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
    missing = missing_tasks(policy, baseline, candidate)
    if not checks and not missing:
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
    measured: list[Comparison] = []
    untold: list[Untold] = []
    for one in checks:
        try:
            both = pairs[one.task, one.judge]
            measured.append(compare_check(one, both, baseline, candidate))
        except NothingToCompareError as error:
            untold.append(Untold(one, str(error).rstrip(".")))
    comparisons: dict[int, Comparison] = {}
    together = None
    # What does not block makes no blocking test less sharp.
    for tier in dict.fromkeys(one.check.criteria.tier for one in measured):
        some = {n: one for n, one in enumerate(measured) if one.check.criteria.tier == tier}
        tested = [n for n, one in some.items() if one.margin is not None]
        p_values = [some[n].least.p_value for n in tested]
        pooled = _pool(list(some.values()), candidate, policy)
        if pooled:
            p_values.append(pooled[0].p_value)
        adjusted = holm(p_values)
        family = dict(zip(tested, adjusted, strict=False))
        decided = {
            n: _decided(replace(one, family_p=family.get(n)), candidate.tasks[one.check.task])
            for n, one in some.items()
        }
        comparisons |= decided
        if pooled:
            together = _together(*pooled, adjusted[-1], decided.values(), policy)
    return GateResult(
        baseline,
        candidate,
        tuple(comparisons[n] for n in range(len(measured))),
        tuple(accepted),
        tuple(missing),
        tuple(untold),
        together,
        tuple(alone(policy, baseline, candidate)),
    )


def _harm(comparisons: Iterable[Comparison], candidate: Evaluation) -> dict[str, Comparison]:
    """Return the comparisons that can be pooled, one a safety task."""
    found: dict[str, Comparison] = {}
    for one in comparisons:
        safety = candidate.tasks[one.check.task].is_safety
        if safety and one.blocks and one.outcomes and one.margin and not one.check.category:
            found.setdefault(one.check.task, one)
    return found


def _pool(
    comparisons: Sequence[Comparison], candidate: Evaluation, policy: Policy
) -> tuple[Increase, Increase, tuple[str, ...]] | None:
    """Return the least and the largest increase over all safety tasks' questions."""
    harm = _harm(comparisons, candidate)
    if len(harm) < 2:
        return None
    outcomes = {task: one.outcomes for task, one in harm.items() if one.outcomes}
    # Under several attacks a question is the same, and its answers are not independent.
    labels = [
        (attacked(task).suite, label) for task, one in outcomes.items() for label in one.labels
    ]

    def increase(sides: Iterable[Filled]) -> Increase:
        old, new = (np.concatenate(side) for side in zip(*sides, strict=True))
        return paired_increase(old, new, labels, policy.criteria.confidence or 0.95)

    least = increase(one.least for one in outcomes.values())
    return least, increase(one.most for one in outcomes.values()), tuple(harm)


def _together(
    least: Increase,
    most: Increase,
    tasks: tuple[str, ...],
    family_p: float,
    decided: Iterable[Comparison],
    policy: Policy,
) -> Together:
    criteria = policy.criteria
    passed = all(one.decision is Decision.PASSED for one in decided if one.check.task in tasks)
    limits = Limits(
        confidence=criteria.confidence or 0.95, surely_worse_fails=criteria.surely_worse == "fail"
    )
    found = decide_together(least, most, limits, family_p, all_passed=passed)
    return Together(tasks, least, most, family_p, found)


def _decided(found: Comparison, task: TaskResult) -> Comparison:
    """Return the comparison of a task with its decision."""
    criteria, sides = found.check.criteria, (found.baseline, found.candidate)
    evidence = Evidence(
        found.least,
        found.most,
        found.rate,
        found.least.p_value if found.family_p is None else found.family_p,
        found.questions,
        {
            UNSCORED: max(one.unscored for one in sides),
            EMPTY: max(one.empty for one in sides),
            CUT: max(one.cut or 0.0 for one in sides),
        },
    )
    limits = Limits(
        found.margin,
        criteria.max,
        surely_worse_fails=criteria.surely_worse == "fail",
        confidence=confidence_of(found.check),
        word="drop" if criteria.max_drop is not None else "increase",
        min_questions=criteria.min_questions or 1,
        shares={
            lack: share
            for lack, share in (
                (UNSCORED, criteria.max_unscored),
                (EMPTY, criteria.max_empty),
                (CUT, criteria.max_truncated),
            )
            if share is not None
        },
    )
    findings = decide(evidence, limits)
    unknown = criteria.max_truncated is not None and any(one.cut is None for one in sides)
    if unknown and task.asks_questions:
        findings.append(Finding(Decision.UNDECIDED, UNKNOWN_CUT))
    decision = severest([one.decision for one in findings])
    those = [one for one in findings if one.decision is decision]
    needed = max((one.needed for one in those if one.needed), default=None)
    needed = needed and math.ceil(needed / found.answers_each)
    reason = "; ".join(one.reason for one in those)
    if decision is Decision.UNDECIDED and needed and needed > found.questions:
        reason += f"; about {needed:,} questions would decide"
    return replace(
        found,
        decision=decision,
        reason=reason,
        needed=needed,
        warning=any(one.warning for one in findings)
        or (criteria.tier == "warn" and decision is not Decision.PASSED),
        grade=_grade(found),
    )


def _grade(found: Comparison) -> Grade | None:
    check = found.check
    if check.metric != MAIN or check.category or check.criteria.max_drop is not None:
        return None
    return grade(found.rate.most, found.baseline.value)
