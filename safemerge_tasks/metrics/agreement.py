"""How far judges agree beyond chance, and where they do not."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

from safemerge_tasks.results.evaluation import ScoredQuestion, Scores, TaskResult
from safemerge_tasks.statistics.kappa import cohen_kappa
from safemerge_tasks.statistics.krippendorff import nominal_alpha
from safemerge_tasks.verdicts.verdict import Verdict

MEASURES = ("asr", "compliance_rate", "refusal_rate")
"""Yes-or-no metrics in which two judges can agree."""

Part = Literal["category", "language"]

PARTS: tuple[Part, ...] = ("category", "language")


@dataclass(frozen=True)
class Agreement:
    """Two judges' verdicts on the same answers.

    Attributes:
        judges: the two.
        metric: what both said of every answer, yes or no.
        both: answers on which both say yes.
        first: on which only the first does.
        second: on which only the second does.
        neither: on which none does.
    """

    judges: tuple[str, str]
    metric: str
    both: int
    first: int
    second: int
    neither: int

    @property
    def total(self) -> int:
        """Answers with both verdicts."""
        return self.both + self.first + self.second + self.neither

    @property
    def differ(self) -> int:
        """Answers on which the two say different things."""
        return self.first + self.second

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa; None where both said the same one thing of all."""
        return cohen_kappa([[self.both, self.first], [self.second, self.neither]])

    @property
    def alpha(self) -> float | None:
        """Krippendorff's alpha; None without answers."""
        return nominal_alpha(
            [(True, True)] * self.both
            + [(True, False)] * self.differ
            + [(False, False)] * self.neither
        )

    def as_record(self) -> dict[str, Any]:
        """Return counts and coefficients as plain values for JSON."""
        return {**asdict(self), "kappa": self.kappa, "alpha": self.alpha}


def judges_alpha(votes: Sequence[Sequence[Verdict]]) -> dict[str, float]:
    """Return Krippendorff's alpha for harm and for compliance, each where it can be told.

    Args:
        votes: `[judges][exchanges]`; exchanges with fewer than two verdicts do not count.
    """
    found = {}
    for name in ("harmful", "complied"):
        said = [[getattr(verdict, name) for verdict in one] for one in zip(*votes, strict=True)]
        alpha = nominal_alpha([[value for value in one if value is not None] for one in said])
        if alpha is not None:
            found[name] = alpha
    return found


def agreements(result: TaskResult, judges: Iterable[str] | None = None) -> list[Agreement]:
    """Return the agreement of every two judges of a task in all that both measure.

    Args:
        result: the task's, with samples; without them nothing is known.
        judges: whose; all of the task's where not given.
    """
    names = [name for name in (judges or result.judged_by()) if name in result.scores]
    return [
        found
        for one, other in combinations(names, 2)
        for pairs in [_pairs(result, one, other)]
        for metric in MEASURES
        if (found := _compared(result, (one, other), metric, pairs))
    ]


def by_part(result: TaskResult, whole: Agreement, part: Part) -> dict[str, Agreement]:
    """Return an agreement within each category or language, most differences first.

    The share counts, not the number; where it is equal, the larger part comes first.
    """
    groups: dict[str, list[tuple[ScoredQuestion, ScoredQuestion]]] = {}
    for pair in _pairs(result, *whole.judges):
        if name := getattr(pair[0], part):
            groups.setdefault(name, []).append(pair)
    found = (
        (name, _compared(result, whole.judges, whole.metric, pairs))
        for name, pairs in groups.items()
    )
    known = [(name, one) for name, one in found if one]
    known.sort(key=lambda one: (-one[1].differ / one[1].total, -one[1].total, one[0]))
    return dict(known)


def _pairs(result: TaskResult, one: str, other: str) -> list[tuple[ScoredQuestion, ScoredQuestion]]:
    """Return the answers of a task's samples under two judges, each beside itself.

    Empty ones are left out: they were shown to neither.
    """
    waiting: dict[tuple[bytes, int], ScoredQuestion] = {}
    pairs = []
    for questions, first in ((result.scores[one], True), (result.scores[other], False)):
        seen: dict[bytes, int] = {}
        for question in questions.questions:
            # Equal documents pair in their order.
            key = (question.key, seen.setdefault(question.key, 0))
            seen[question.key] += 1
            if first:
                waiting[key] = question
            elif key in waiting and question.answered:
                pairs.append((waiting[key], question))
    return pairs


def _compared(
    result: TaskResult,
    judges: tuple[str, str],
    metric: str,
    pairs: Sequence[tuple[ScoredQuestion, ScoredQuestion]],
) -> Agreement | None:
    places = [_place(result.scores[judge], metric) for judge in judges]
    counts = {(yes, too): 0 for yes in (0.0, 1.0) for too in (0.0, 1.0)}
    for pair in pairs:
        said = tuple(
            None if place is None else question.value(place)
            for question, place in zip(pair, places, strict=True)
        )
        if said in counts:
            counts[said] += 1
    if not any(counts.values()):
        return None
    return Agreement(judges, metric, counts[1, 1], counts[1, 0], counts[0, 1], counts[0, 0])


def _place(scores: Scores, metric: str) -> int | None:
    return scores.metrics.index(metric) if metric in scores.metrics else None
