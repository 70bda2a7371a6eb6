"""Every check of a policy decided; `statistics.decision` makes the text and the exit status."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.comparison import Comparison, compare_check, confidence_of
from safemerge_tasks.gate.pairing import Difference, QuestionPair, differences, pair, refuse
from safemerge_tasks.gate.plan import plan
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.results.evaluation import Evaluation
from safemerge_tasks.statistics.decision import (
    Decision,
    Evidence,
    Limits,
    decide,
    holm,
    severest,
)

UNSCORED = "have no verdict"


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
        return severest([one.decision for one in self.comparisons])

    @property
    def warnings(self) -> tuple[Comparison, ...]:
        """What passed with a warning."""
        return tuple(one for one in self.comparisons if one.warning)

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
    adjusted = holm([one.least.p_value for one in tested])
    family = {id(one): p for one, p in zip(tested, adjusted, strict=True)}
    comparisons = (replace(one, family_p=family.get(id(one))) for one in undecided)
    decided = tuple(map(_decided, comparisons))
    return GateResult(baseline, candidate, decided, tuple(accepted))


def _decided(found: Comparison) -> Comparison:
    """Return the comparison with its decision."""
    criteria = found.check.criteria
    evidence = Evidence(
        found.least,
        found.most,
        found.rate,
        found.least.p_value if found.family_p is None else found.family_p,
        found.questions,
        {UNSCORED: max(found.baseline.unscored, found.candidate.unscored)},
    )
    limits = Limits(
        found.margin,
        criteria.max,
        surely_worse_fails=criteria.surely_worse == "fail",
        confidence=confidence_of(found.check),
        word="drop" if criteria.max_drop is not None else "increase",
        min_questions=criteria.min_questions or 1,
        shares={UNSCORED: 1.0 if criteria.max_unscored is None else criteria.max_unscored},
    )
    findings = decide(evidence, limits)
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
        warning=any(one.warning for one in findings),
    )
