"""One model under several attacks: each one's rate, the worst of them, and their union."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.attacks.names import BETWEEN, PLAIN
from safemerge_tasks.report.measure import Measure, from_questions
from safemerge_tasks.results import PREDICTION, latest_results, stored_by_us
from safemerge_tasks.results.evaluation import MAIN, ScoredQuestion, TaskResult
from safemerge_tasks.results.loading import read_task

_HIT = "hit@"

COMPLIANCE = "compliance_rate"
"""What is measured by a judge that tells refusals and not harm."""


@dataclass(frozen=True)
class Attacked:
    """A suite under one attack.

    Attributes:
        attack: as results name it.
        rate: the suite's metric: mean over the questions of the share of harmful answers.
        hits: k → the chance that one of k answers is harmful, where answers were drawn.
        prediction: the stored ASR@N with its interval; None where there is none.
    """

    attack: str
    rate: Measure
    hits: Mapping[int, Measure]
    prediction: Mapping[str, Any] | None


@dataclass(frozen=True)
class UnderAttack:
    """A suite under all attacks, as one judge sees it.

    Attributes:
        model: as lm-eval names it.
        task: without an attack.
        judge: whose verdicts these are.
        metric: what is measured: the ASR, or `COMPLIANCE`.
        attacks: in the order of the results.
        worst: mean over the questions of the rate under the attack that does most to each.
        union: share of questions with a harmful answer under any attack.
        questions: id → attack → rate; None without a verdict.
    """

    model: str
    task: str
    judge: str
    metric: str
    attacks: Sequence[Attacked]
    worst: Measure
    union: Measure
    questions: Mapping[str, Mapping[str, float | None]]


def read_under_attack(folder: Path, judge: str, order: Sequence[str]) -> list[UnderAttack]:
    """Return a model's suites under their attacks.

    Args:
        folder: of one model's results.
        judge: whose verdicts count.
        order: attacks as results name them, in the order to show; others are left out.

    Raises:
        SafemergeError: there are no results, or broken ones.
    """
    suites: dict[tuple[str, str], dict[str, tuple[TaskResult, Any]]] = {}
    for (model, name), (run, summary) in latest_results(folder).items():
        task, _, attack = name.partition(BETWEEN)
        stored = stored_by_us(summary["configs"][name]).get(PREDICTION, {}).get(judge)
        result = read_task(name, run, summary)
        if judge in result.scores:
            suites.setdefault((model, task), {})[attack or PLAIN] = (result, stored)
    return [
        _suite(model, task, judge, {name: found[name] for name in order if name in found})
        for (model, task), found in suites.items()
    ]


def _suite(
    model: str, task: str, judge: str, found: Mapping[str, tuple[TaskResult, Any]]
) -> UnderAttack:
    measured = {name for result, _ in found.values() for name in result.scores[judge].metrics}
    metric = COMPLIANCE if COMPLIANCE in measured and MAIN not in measured else MAIN
    attacks = []
    each = max(result.stands_for for result, _ in found.values())
    asked: dict[str, ScoredQuestion] = {}
    rates: dict[str, dict[str, float | None]] = {}
    for attack, (result, prediction) in found.items():
        scores = result.scores[judge]
        questions = scores.only(metric)
        for one in questions:
            asked.setdefault(one.id, one)
            rates.setdefault(one.id, dict.fromkeys(found))[attack] = one.value(0)
        hits = {
            int(metric.removeprefix(_HIT)): _measure(scores.only(metric), each)
            for metric in scores.metrics
            if metric.startswith(_HIT)
        }
        attacks.append(Attacked(attack, _measure(questions, each), hits, prediction))
    worst = [_with(asked[one], highest(rates[one].values(), enough=1.0)) for one in asked]
    union = [
        _with(asked[one], highest((_any(rate) for rate in rates[one].values()), enough=1.0))
        for one in asked
    ]
    total = (_measure(worst, each), _measure(union, each))
    return UnderAttack(model, task, judge, metric, attacks, *total, rates)


def highest(rates: Any, enough: float) -> float | None:
    """Return the highest of some rates; None where one that is not known might be higher."""
    found = list(rates)
    known = max((rate for rate in found if rate is not None), default=None)
    return known if known is not None and (None not in found or known >= enough) else None


def _any(rate: float | None) -> float | None:
    return None if rate is None else float(rate > 0)


def _with(question: ScoredQuestion, value: float | None) -> ScoredQuestion:
    # Its hash differs under an attack that begins the answer; its id does not.
    cluster = question.cluster or question.id
    return question._replace(values=(value,), unscored=value is None, cluster=cluster)


def _measure(questions: Sequence[ScoredQuestion], stands_for: float) -> Measure:
    found = from_questions(questions, 0, stands_for=stands_for)
    return found or Measure(None, None, None, None, 0, len(questions), "samples")
