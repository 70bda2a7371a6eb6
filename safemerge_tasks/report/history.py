"""The ASR of nightly runs in the order of their dates, and whether it drifted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.comparison import compare_check
from safemerge_tasks.gate.pairing import differences, pair
from safemerge_tasks.gate.plan import Check
from safemerge_tasks.gate.policy import DEFAULTS, MARGIN, Criteria
from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.reading import TaskData, task_data
from safemerge_tasks.results import model_name, read_runs
from safemerge_tasks.results.evaluation import MAIN, Evaluation
from safemerge_tasks.statistics.increase import Increase

CRITERIA = Criteria(max_increase=MARGIN).over(DEFAULTS)
"""Less ASR is better; nothing is decided."""


@dataclass(frozen=True)
class Night:
    """One run's ASR."""

    date: str
    asr: Measure


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
    """

    model: str
    task: str
    judge: str
    nights: list[Night] = field(default_factory=list)
    drift: Drift | None = None


def read_history(folders: Sequence[Path]) -> list[Series]:
    """Return every model's and task's history below some folders.

    Raises:
        SafemergeError: a folder has no results, broken ones, or none with an ASR.
    """
    runs = [found for folder in folders for found in read_runs(folder)]
    # The same folder may have been named twice.
    by_path = {run.path.resolve(): (run, summary, tasks) for run, summary, tasks in runs}
    ordered = sorted(by_path.values(), key=lambda one: (one[0].date, str(one[0].path)))
    found: dict[tuple[str, str, str], Series] = {}
    first: dict[tuple[str, str, str], TaskData] = {}
    last: dict[tuple[str, str, str], TaskData] = {}
    for run, summary, tasks in ordered:
        for task in tasks:
            data = task_data(task, run, summary)
            for judge in data.result.judged_by() if data.result.is_safety else ():
                asr = data.measure(judge, MAIN)
                if asr is None or asr.value is None:
                    continue
                key = (model_name(summary, run), task, judge)
                found.setdefault(key, Series(*key)).nights.append(Night(run.date, asr))
                # Only these two nights' verdicts stay in memory.
                first.setdefault(key, data)
                last[key] = data
    if not found:
        raise SafemergeError(
            f"{', '.join(map(str, folders))} has no attack success rate; evaluate a safety task."
        )
    for key, series in found.items():
        if len(series.nights) > 1:
            series.drift = _drift(first[key], last[key], key[2])
    return list(found.values())


def as_records(history: Sequence[Series]) -> list[dict[str, Any]]:
    """Return the history as plain values for JSON."""
    return [
        {
            "model": one.model,
            "task": one.task,
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
                }
                for night in one.nights
            ],
            "drift": _record(one.drift),
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


def _drift(old: TaskData, new: TaskData, judge: str) -> Drift:
    pairs = pair(*(one.result.scores.get(judge) for one in (old, new)))
    if pairs is not None:
        differing = differences(new.name, old.result, new.result, judge, pairs)
        if differing:
            named = ", ".join(dict.fromkeys(one.what for one in differing))
            return Drift(None, f"not comparable: {named} differs")
    nights = (Evaluation(str(one.run.path), "", {one.name: one.result}) for one in (old, new))
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
