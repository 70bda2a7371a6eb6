"""lm-eval's output folders as evaluations; samples are streamed, and no text is kept."""

import math
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from sys import intern
from typing import Any

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.results.category_rows import is_category_row
from safemerge_tasks.results.completeness import refuse_incomplete
from safemerge_tasks.results.evaluation import (
    LARGEST,
    MOST,
    Evaluation,
    Rate,
    ScoredQuestion,
    Scores,
    TaskResult,
)
from safemerge_tasks.results.labels import LABEL_LIMIT, label
from safemerge_tasks.results.runs import Run, latest_results
from safemerge_tasks.results.samples import Row, stream_rows
from safemerge_tasks.results.stored import lasting, stored_by_us
from safemerge_tasks.verdicts.answer import INVISIBLE

CLUSTER = "cluster"
"""The field by which suites of ours mark dependent questions."""

EMPTY = "empty_rate"
"""The metric by which a task itself says that an answer is empty."""

Found = tuple[Run, dict[str, Any]]
"""A run with its results file's content."""


def load_folder(folder: Path, cluster_by: str = CLUSTER) -> Evaluation:
    """Read the latest results of every task below a folder.

    Args:
        folder: lm-eval's --output_path, or one results file in it.
        cluster_by: the document's field whose equal values mark dependent questions.

    Raises:
        SafemergeError: no results, broken ones, those of several models, or no question has the
            field.
    """
    model, found = _of_one_model(folder)
    tasks = {task: read_task(task, *one, cluster_by) for task, one in found.items()}
    refuse_unknown_field([folder], tasks.values(), cluster_by)
    date = max(run.date for run, _ in found.values())
    return Evaluation(str(folder), model, tasks, date=date)


def refuse_unknown_field(
    folders: Iterable[Path], results: Iterable[TaskResult], cluster_by: str
) -> None:
    """Refuse a field that makes no two questions dependent because none of them has it.

    Raises:
        SafemergeError: there is none; the field of suites that have clusters may be missing.
    """
    scores = [one for result in results for one in result.scores.values()]
    if cluster_by == CLUSTER or any(
        question.cluster for one in scores for question in one.questions
    ):
        return
    raise SafemergeError(
        f"no question in {', '.join(map(str, folders))} has the field {cluster_by}, which "
        "cluster_by names; correct it, or leave it out."
    )


def latest_samples(folder: Path) -> dict[str, Path]:
    """Return task → samples file of its latest results, where there is one."""
    found = _of_one_model(folder)[1]
    return {task: run.samples[task] for task, (run, _) in found.items() if task in run.samples}


def latest_files(folder: Path) -> list[Path]:
    """Return the results files of every task's latest results, and their samples files."""
    found = _of_one_model(folder)[1]
    paths = {run.path for run, _ in found.values()}
    return sorted(
        paths | {run.samples[task] for task, (run, _) in found.items() if task in run.samples}
    )


def read_task(
    task: str, run: Run, summary: Mapping[str, Any], cluster_by: str = CLUSTER
) -> TaskResult:
    """Read a task of a run, with its samples where there are any.

    Raises:
        SafemergeError: it is not what lm-eval writes, or samples are missing.
    """
    try:
        found = _without_samples(task, summary)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise SafemergeError(
            f"{run.path}, {task} is not what lm-eval writes ({brief(error)}); run lm_eval again."
        ) from error
    if task not in run.samples:
        run.refuse_packed(task)
    else:
        found.scores = _read_scores(run.samples[task], cluster_by)
        rows = {judge: len(scores.questions) for judge, scores in found.scores.items()}
        refuse_incomplete(run.samples[task], summary, task, rows)
    return found


def document_key(row: Row) -> bytes:
    """Return what names the document: its hash, else (old lm-eval) its number."""
    return _digest(row.get("doc_hash") or f"number {row['doc_id']}")


def _of_one_model(folder: Path) -> tuple[str, dict[str, Found]]:
    found = latest_results(folder)
    models = {model: run.path.parent for (model, _), (run, _) in found.items()}
    if not models:
        raise SafemergeError(f"{folder} has results of no task; run lm_eval again.")
    if len(models) > 1:
        raise SafemergeError(
            f"{folder} holds results of {len(models)} models ({', '.join(sorted(models))}); give "
            f"the folder of one, such as {next(iter(models.values()))}."
        )
    return next(iter(models)), {task: one for (_, task), one in found.items()}


def _without_samples(task: str, summary: Mapping[str, Any]) -> TaskResult:
    """Return what a results file says of a task."""
    config = (summary.get("configs") or {}).get(task) or {}
    ours = stored_by_us(config)
    samples = (summary.get("n-samples") or {}).get(task) or {}
    found = TaskResult(
        kind=ours.get("kind", ""),
        settings={
            "version": (summary.get("versions") or {}).get(task),
            "generation": config.get("generation_kwargs"),
            "chat template": summary.get("chat_template_sha"),
            "system prompt": [
                summary.get("system_instruction_sha"),
                config.get("description"),
                ours.get("system_prompt"),
            ],
            "few-shot examples": (summary.get("n-shot") or {}).get(task),
            "repeats": config.get("repeats"),
            "attack": ours.get("attack"),
            "beginning of answers": config.get("gen_prefix"),
            # A judge's identity holds its own.
            "thinking": None if ours.get("judges") else ours.get("thinking"),
        },
        judges={
            str(judge["name"]): lasting(judge)
            for judge in ours.get("judges", ())
            if isinstance(judge, dict) and "name" in judge
        },
        higher_is_better=dict((summary.get("higher_is_better") or {}).get(task) or {}),
        stands_for=float((ours.get("subset") or {}).get("each_stands_for", 1)),
    )
    for key, value in summary["results"][task].items():
        metric, comma, judge = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, (int, float)):
            counts = ((ours.get("counts") or {}).get(judge) or {}).get(metric) or {}
            questions = counts.get("scored") or samples.get("effective") or 0
            if not 0 <= questions <= MOST:
                raise ValueError(f"{metric} of {questions} questions")
            if (rate := _number(value)) is not None:
                found.rates.setdefault(judge, {})[metric] = Rate(rate, int(questions))
    return found


def _read_scores(path: Path, cluster_by: str) -> dict[str, Scores]:
    """Return a samples file's scores by judge (filter), in the order of the questions' keys."""
    found: dict[str, Scores] = {}
    columns: dict[str, dict[str, int]] = {}
    for row in stream_rows(path):
        try:
            judge = intern(row.get("filter") or "none")
            scores = found.setdefault(judge, Scores())
            places = columns.setdefault(judge, {})
            scores.questions.append(_question(row, scores.metrics, places, cluster_by))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SafemergeError(
                f"{path}, doc_id {row.get('doc_id')} is not a sample that lm-eval writes "
                f"({brief(error)}); run lm_eval again with --log_samples."
            ) from error
    for scores in found.values():
        scores.questions.sort(key=lambda question: question.key)
    return found


def _question(
    row: Row, metrics: list[str], places: dict[str, int], cluster_by: str
) -> ScoredQuestion:
    document = row["doc"] if isinstance(row.get("doc"), dict) else {}
    category = _label(document.get("category"))
    values: list[float | None] = [None] * len(metrics)
    for metric in row["metrics"]:
        # Category rows repeat the ASR; who wants them groups by the category itself.
        if category and is_category_row(metric):
            continue
        value = row[metric]
        if not isinstance(value, (int, float)):
            continue
        if metric not in places:
            places[metric] = len(metrics)
            metrics.append(metric)
        place = places[metric]
        values.extend([None] * (place + 1 - len(values)))
        values[place] = _number(value)
    return ScoredQuestion(
        id=str(document.get("id") or row["doc_id"])[:LABEL_LIMIT],
        key=document_key(row),
        prompt=_digest(row.get("prompt_hash")),
        category=category,
        language=_label(document.get("language")),
        cluster=_label(document.get(cluster_by)),
        unscored=_share(row.get("unscored_rate")),
        answered=1 - _share(row.get(EMPTY)) if _says_something(row.get("resps", ".")) else 0.0,
        values=tuple(values),
    )


def _number(value: float) -> float | None:
    """Return a number; None for what is none (NaN) or not finite, which lm-eval may write."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if abs(value) > LARGEST:
        raise ValueError("a metric beyond 1e100")
    return float(value)


def _share(value: Any) -> float:
    known = _number(value) if isinstance(value, int | float) else None
    return min(max(known or 0.0, 0.0), 1.0)


def _says_something(responses: Any) -> bool:
    """Return whether any of a document's responses has a visible character."""
    if isinstance(responses, (list, tuple)):
        return any(map(_says_something, responses))
    if isinstance(responses, str):
        return bool(responses.strip(INVISIBLE))
    return responses is not None


def _digest(text: Any) -> bytes:
    return blake2b(str(text or "").encode("utf-8", "backslashreplace"), digest_size=12).digest()


def _label(value: Any) -> str:
    return intern(label(str(value))) if value not in (None, "") else ""
