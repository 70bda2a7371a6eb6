"""A baseline as one small file: verdicts by question, settings and versions, no text."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.gate.plan import PENDING
from safemerge_tasks.results import is_results_file
from safemerge_tasks.results.evaluation import Evaluation, TaskResult
from safemerge_tasks.results.loading import load_folder

FORMAT = 2

TASK = TypeAdapter(TaskResult)


def freeze(evaluation: Evaluation, out: Path, cluster_by: str) -> None:
    """Write an evaluation as a baseline file, with the SHA-256 of its content as checksum.

    Raises:
        SafemergeError: it cannot be written there, or a task has no verdicts yet.
    """
    for name, result in evaluation.tasks.items():
        if result.asks_questions and not set(result.judged_by()) - {PENDING}:
            raise SafemergeError(
                f"{evaluation.source} has no verdicts on {name}; run `safemerge judge` first."
            )
    content = {
        "format": FORMAT,
        "safemerge": version("safemerge"),
        "model": evaluation.model,
        "date": evaluation.date,
        "cluster_by": cluster_by,
        "tasks": {name: _task(result) for name, result in evaluation.tasks.items()},
    }
    checked = {"sha256": content_sha256(content), **content}
    write_file(out, json.dumps(checked, ensure_ascii=False, separators=(",", ":")) + "\n")


def load_evaluation(path: Path, cluster_by: str) -> Evaluation:
    """Read lm-eval's folder, one of its results files, or a baseline that `freeze` wrote.

    Raises:
        SafemergeError: it is none of these, or broken.
    """
    if path.is_file() and not is_results_file(path):
        return load_frozen(path, cluster_by)
    return load_folder(path, cluster_by)


def load_frozen(path: Path, cluster_by: str) -> Evaluation:
    """Read a baseline that `freeze` wrote.

    Raises:
        SafemergeError: it is no such file, or its content is not what the checksum is of.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("sha256")
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, and this safemerge reads {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SafemergeError(
            f"{path} is not a baseline, nor lm_eval's results ({type(error).__name__}: {error}); "
            "write it with `safemerge check freeze`."
        ) from error
    if content_sha256(content) != checksum:
        raise SafemergeError(
            f"{path} was changed after it was frozen (its sha256 does not match); freeze again."
        )
    if (frozen_by := content.get("cluster_by")) != cluster_by:
        raise SafemergeError(
            f"{path} was frozen with cluster_by {frozen_by}, the policy says {cluster_by}; freeze "
            "again with the policy's."
        )
    try:
        tasks = {name: _from_task(fields) for name, fields in content["tasks"].items()}
        # Baselines that were frozen before have no date.
        date = str(content.get("date", ""))
        return Evaluation(str(path), str(content["model"]), tasks, date=date)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SafemergeError(f"{path} is not a baseline ({brief(error)}); freeze again.") from error


def content_sha256(content: Mapping[str, Any]) -> str:
    """Return the hash of a baseline's content, whatever its white space and order of keys."""
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "backslashreplace")).hexdigest()


def _task(result: TaskResult) -> dict[str, Any]:
    fields = asdict(replace(result, scores={}))
    del fields["scores"]
    fields["tables"] = {
        judge: {
            "metrics": scores.metrics,
            "answers": [
                [one.id, one.key.hex(), one.prompt.hex(), *one[3:]] for one in scores.questions
            ],
        }
        for judge, scores in result.scores.items()
    }
    # As it comes back from JSON, so that hashing and comparing see the same.
    plain: dict[str, Any] = json.loads(json.dumps(fields, default=str))
    return plain


def _from_task(fields: dict[str, Any]) -> TaskResult:
    tables = fields.pop("tables").items()
    scores = {
        judge: {"metrics": table["metrics"], "questions": list(map(_question, table["answers"]))}
        for judge, table in tables
    }
    return TASK.validate_python({**fields, "scores": scores})


def _question(row: list[Any]) -> list[Any]:
    name, key, prompt, *labels, values = row
    return [name, bytes.fromhex(key), bytes.fromhex(prompt), *labels, values]
