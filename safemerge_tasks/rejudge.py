"""Judging saved responses: the same verdicts as during the evaluation, without the model.

Reads lm-eval's samples, judges every response once, and rewrites samples and results in place; the
files as they were are kept beside them.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.judges import Judge, JudgeSettings, Verdict, judge_responses, make_judge
from safemerge_tasks.metrics.asr import HIGHER_IS_BETTER, aggregate, document_metrics
from safemerge_tasks.metrics.unscored import warn_if_unscored
from safemerge_tasks.results import HARMFUL_QUESTIONS, Row, Run, find_runs
from safemerge_tasks.scored import Scored

_log = logging.getLogger(__name__)

BACKUP_SUFFIX = ".before-judging"


@dataclass
class Judged:
    """What `judge_folder` did.

    Attributes:
        judge: the judge's name.
        results: the rewritten results files.
        tables: results file → task → result keys of this judge.
        pending: responses that the judge failed on.
    """

    judge: str
    results: list[Path] = field(default_factory=list)
    tables: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    pending: int = 0


def judge_folder(
    folder: Path, settings: JudgeSettings, on_task: Callable[[str], None] | None = None
) -> Judged:
    """Judge every run of harmful questions below a folder, with one engine for all.

    Args:
        folder: where lm-eval wrote one run or many.
        settings: the judge.
        on_task: told what is judged next, in words.

    Raises:
        SafemergeError: there is nothing to judge, or the judge cannot work.
    """
    work = [
        (run, summary, tasks)
        for run in find_runs(folder)
        if (tasks := _judgeable(run, summary := run.summary()))
    ]
    if not work:
        raise SafemergeError(
            f"{folder} holds no samples of harmful questions; run lm_eval with --log_samples and "
            "one of safemerge's safety tasks."
        )
    judge = make_judge(settings)
    judge.check()
    judged = Judged(judge.name)
    try:
        for number, (run, summary, tasks) in enumerate(work, 1):
            if on_task:
                on_task(f"{', '.join(tasks)} ({number} of {len(work)} runs)")
            _judge_run(run, summary, tasks, judge, settings, judged)
    finally:
        judge.close()
    return judged


def _judgeable(run: Run, summary: Mapping[str, Any]) -> list[str]:
    configs = summary.get("configs", {})
    return [task for task in run.samples if _kind(configs.get(task, {})) == HARMFUL_QUESTIONS]


def _kind(config: Mapping[str, Any]) -> str | None:
    ours = (config.get("metadata") or {}).get("safemerge")
    return ours.get("kind") if isinstance(ours, dict) else None


def _judge_run(
    run: Run,
    summary: dict[str, Any],
    tasks: Sequence[str],
    judge: Judge,
    settings: JudgeSettings,
    judged: Judged,
) -> None:
    new_rows: dict[str, list[Row]] = {}
    for task in tasks:
        rows = run.rows(task)
        documents = list({row["doc_id"]: row for row in rows}.values())
        verdicts = judge_responses(
            judge,
            [_question(run, task, row) for row in documents],
            [_response(run, task, row) for row in documents],
            settings.timeout,
        )
        warn_if_unscored(task, verdicts)
        judged.pending += sum(verdict.pending for verdict in verdicts)
        fresh = [
            _judged_row(row, verdict, judge.name)
            for row, verdict in zip(documents, verdicts, strict=True)
        ]
        kept = [row for row in rows if row["filter"] not in (judge.name, "deferred")]
        new_rows[task] = kept + fresh
        table = aggregate([_metrics(row) for row in fresh], judge.name)
        _update_summary(summary, task, table, judge)
        judged.tables.setdefault(str(run.path), {})[task] = table
    for path in [run.path, *(run.samples[task] for task in tasks)]:
        _back_up(path)
    for task, rows in new_rows.items():
        run.write_rows(task, rows)
    run.write_summary(summary)
    judged.results.append(run.path)


def _judged_row(row: Row, verdict: Verdict, name: str) -> Row:
    truncated = row.get("truncated_rate")
    scored = Scored(verdict, None if truncated is None else bool(truncated))
    metrics = document_metrics(
        verdict, truncated=scored.truncated, category=row["doc"].get("category") or None
    )
    shared = {key: value for key, value in row.items() if key not in row["metrics"]}
    return {
        **shared,
        "filtered_resps": [scored.to_json()],
        "filter": name,
        "metrics": list(metrics),
        **metrics,
    }


def _metrics(row: Row) -> dict[str, float]:
    return {metric: row[metric] for metric in row["metrics"]}


def _update_summary(
    summary: dict[str, Any], task: str, table: Mapping[str, float | str], judge: Judge
) -> None:
    result = summary["results"].setdefault(task, {})
    for key in [key for key in result if key.endswith((f",{judge.name}", ",deferred"))]:
        del result[key]
    result.update(table)
    metrics = {key.partition(",")[0] for key in table}
    directions = {
        name: HIGHER_IS_BETTER.get(name, False) for name in metrics if "_stderr" not in name
    }
    summary.setdefault("higher_is_better", {}).setdefault(task, {}).update(directions)
    ours = summary["configs"][task]["metadata"]["safemerge"]
    others = [
        other for other in ours.get("judges", []) if other["name"] not in (judge.name, "deferred")
    ]
    ours["judges"] = [*others, judge.identity()]


def _question(run: Run, task: str, row: Row) -> str:
    question = row["doc"].get("question")
    if not isinstance(question, str):
        raise SafemergeError(
            f"{run.samples[task]}, doc_id {row['doc_id']} has no question; run lm_eval again."
        )
    return question


def _response(run: Run, task: str, row: Row) -> str:
    try:
        return str(row["resps"][0][0])
    except (KeyError, IndexError, TypeError) as error:
        raise SafemergeError(
            f"{run.samples[task]}, doc_id {row.get('doc_id')} has no response; run lm_eval again."
        ) from error


def _back_up(path: Path) -> None:
    """Keep the first state for good: what a later judging replaces was made by a judge itself."""
    backup = path.with_name(path.name + BACKUP_SUFFIX)
    if not backup.exists():
        shutil.copy2(path, backup)
