"""The ASR of nightly runs in the order of their dates, when it changed, and the verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.attacked import Attacked, attacked
from safemerge_tasks.gate.comparison import compare_check
from safemerge_tasks.gate.decision import compare
from safemerge_tasks.gate.pairing import differences, pair
from safemerge_tasks.gate.plan import Check
from safemerge_tasks.gate.policy import DEFAULTS, MARGIN, Criteria, Policy
from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.reading import TaskData, task_data
from safemerge_tasks.results import model_name, read_runs
from safemerge_tasks.results.evaluation import MAIN, Evaluation
from safemerge_tasks.results.loading import refuse_unknown_field
from safemerge_tasks.results.runs import is_copy
from safemerge_tasks.statistics.change_points import ChangePoint, change_points
from safemerge_tasks.statistics.decision import Decision
from safemerge_tasks.statistics.increase import Increase

CRITERIA = Criteria(max_increase=MARGIN).over(DEFAULTS)
"""Less ASR is better; nothing is decided."""


@dataclass(frozen=True)
class Night:
    """One run.

    Attributes:
        date: as lm-eval writes it.
        asr: with its interval.
        decision: the gate's, against the baseline; None for the baseline itself, and where the two
            cannot be compared.
        reason: why the gate decided so, or why not at all.
        comparable: whether it was evaluated as the baseline was.
    """

    date: str
    asr: Measure
    decision: Decision | None = None
    reason: str = ""
    comparable: bool = True


@dataclass(frozen=True)
class Drift:
    """The last run against the first.

    Attributes:
        increase: of the ASR; None where the two cannot be compared.
        reason: why not, or how they were compared.
    """

    increase: Increase | None
    reason: str


@dataclass
class Series:
    """The history of one task of one model under one judge.

    Attributes:
        model: as lm-eval names it.
        task: its name.
        judge: whose verdicts.
        nights: oldest first.
        drift: the last against the first; None where there is only one night.
        changes: of the ASR, in order; each `place` is that of a night.
    """

    model: str
    task: str
    judge: str
    nights: list[Night] = field(default_factory=list)
    drift: Drift | None = None
    changes: list[ChangePoint] = field(default_factory=list)

    @property
    def put(self) -> Attacked:
        """The suite, and how its questions are put."""
        return attacked(self.task)


def read_history(
    folders: Sequence[Path], baseline: Evaluation | None = None, policy: Policy | None = None
) -> list[Series]:
    """Return every model's and task's history below some folders, a suite's attacks together.

    Args:
        folders: that lm_eval wrote.
        baseline: what the gate compares each night with; None for the first night.
        policy: by which it decides; None for the default one. Of its checks those of a task and
            judge count for their history.

    Raises:
        SafemergeError: a folder has no results, broken ones, none with an ASR, or two of which
            nothing tells which is later.
    """
    asked = policy or Policy()
    runs = [found for folder in folders for found in read_runs(folder)]
    # The same folder may have been named twice.
    by_path = {run.path.resolve(): (run, summary, tasks) for run, summary, tasks in runs}
    ordered = sorted(by_path.values(), key=lambda one: (one[0].date, str(one[0].path)))
    found: dict[tuple[str, str, str], Series] = {}
    first: dict[tuple[str, str, str], TaskData] = {}
    last: dict[tuple[str, str, str], TaskData] = {}
    for run, summary, tasks in ordered:
        for task in tasks:
            data = task_data(task, run, summary, asked.cluster_by)
            for judge in data.result.judged_by() if data.result.is_safety else ():
                asr = data.measure(judge, MAIN)
                if asr is None or asr.value is None:
                    continue
                key = (model_name(summary, run), task, judge)
                if key in last and is_copy(
                    (run, summary), (last[key].run, last[key].summary), task
                ):
                    continue
                series = found.setdefault(key, Series(*key))
                against = baseline or (_evaluation(first[key]) if key in first else None)
                decided = _decided(against, data, judge, asked)
                series.nights.append(Night(run.date, asr, *decided))
                # Only these two nights' verdicts stay in memory.
                first.setdefault(key, data)
                last[key] = data
    if not found:
        raise SafemergeError(
            f"{', '.join(map(str, folders))} has no attack success rate; evaluate a safety task."
        )
    refuse_unknown_field(folders, (one.result for one in last.values()), asked.cluster_by)
    for key, series in found.items():
        if len(series.nights) > 1:
            series.drift = _drift(first[key], last[key], key[2])
            series.changes = _changes(series.nights)
    suites = list(dict.fromkeys((one.model, one.put.suite) for one in found.values()))
    return sorted(found.values(), key=lambda one: suites.index((one.model, one.put.suite)))


def as_records(history: Sequence[Series]) -> list[dict[str, Any]]:
    """Return the history as plain values for JSON."""
    return [
        {
            "model": one.model,
            "task": one.task,
            **one.put._asdict(),
            "judge": one.judge,
            "runs": [
                {
                    "date": night.date,
                    "asr": night.asr.value,
                    "low": night.asr.low,
                    "high": night.asr.high,
                    "harmful": night.asr.hits,
                    "scored": night.asr.scored,
                    "total": night.asr.total,
                    "from": night.asr.source,
                    "verdict": night.decision.value if night.decision else None,
                    "reason": night.reason,
                }
                for night in one.nights
            ],
            "drift": _record(one.drift),
            "changes": [
                {
                    "date": one.nights[change.place].date,
                    "earliest": one.nights[change.earliest].date,
                    "latest": one.nights[change.latest].date,
                    "before": change.before,
                    "after": change.after,
                    "confidence": change.confidence,
                }
                for change in one.changes
            ],
        }
        for one in history
    ]


def _record(drift: Drift | None) -> dict[str, Any] | None:
    if drift is None:
        return None
    found = drift.increase
    if found is None:
        return {"note": drift.reason}
    return {
        "increase": found.value,
        "lower": found.lower,
        "upper": found.upper,
        "p_value": found.p_value,
        "questions": found.questions,
        "note": drift.reason,
    }


def _evaluation(data: TaskData) -> Evaluation:
    return Evaluation(str(data.run.path), "", {data.name: data.result})


def _decided(
    baseline: Evaluation | None, data: TaskData, judge: str, policy: Policy
) -> tuple[Decision | None, str, bool]:
    """Return the gate's verdict on one task under one judge, why, and if it could be compared."""
    if baseline is None:
        return None, "the first night, which the others are compared with", True
    if data.name not in baseline.tasks:
        return None, f"{baseline.source} has no results of {data.name}", True
    task = policy.tasks.get(data.name)
    if policy.tasks and task is None:
        return None, f"the policy does not name {data.name}", True
    if (wanted := (task and task.judge) or policy.judge) and wanted != judge:
        return None, f"the policy asks {wanted}", True
    asked = policy.model_copy(update={"judge": judge, "tasks": {data.name: task} if task else {}})
    night = _evaluation(data)
    old = Evaluation(baseline.source, baseline.model, {data.name: baseline.tasks[data.name]})
    try:
        result = compare(old, night, asked)
    except SafemergeError as error:
        return None, str(error).rstrip("."), False
    told = [one.reason for one in result.comparisons if one.decision is result.decision]
    reasons = told or [one.reason for one in result.untold]
    return result.decision, "; ".join(reasons), True


def _changes(nights: Sequence[Night]) -> list[ChangePoint]:
    """Return when the rate changed, over the nights that can be compared.

    None unless each of these has counts.
    """
    places = [place for place, night in enumerate(nights) if night.comparable]
    counts = [
        (asr.hits, asr.scored, asr.design_effect)
        for asr in (nights[place].asr for place in places)
        if asr.hits is not None and asr.scored
    ]
    if not counts or len(counts) < len(places):
        return []
    hits, totals, effects = zip(*counts, strict=True)
    return [
        one._replace(
            place=places[one.place], earliest=places[one.earliest], latest=places[one.latest]
        )
        for one in change_points(hits, totals, effects)
    ]


def _drift(old: TaskData, new: TaskData, judge: str) -> Drift:
    pairs = pair(*(one.result.scores.get(judge) for one in (old, new)))
    if pairs is not None:
        differing = differences(new.name, old.result, new.result, judge, pairs)
        if differing:
            named = ", ".join(dict.fromkeys(one.what for one in differing))
            return Drift(None, f"not comparable: {named} differs")
    nights = map(_evaluation, (old, new))
    try:
        found = compare_check(Check(new.name, judge, MAIN, CRITERIA), pairs, *nights)
    except SafemergeError as error:
        return Drift(None, str(error).rstrip("."))
    how = (
        f"{found.questions:,} questions, paired"
        if found.paired
        else "unpaired, for want of samples"
    )
    return Drift(found.increase, how)
