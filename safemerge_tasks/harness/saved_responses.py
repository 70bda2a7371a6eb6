"""What the model under test wrote, on disk before a judge starts.

lm-eval saves nothing until every task is scored. A judge that takes the process down with it would
lose every generation, so all responses are first saved in lm-eval's own two file formats, where
`safemerge judge` can read them; the copy goes away once lm-eval has saved as many itself.
"""

import atexit
import logging
import os
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.judges import JudgeSettings, Verdict
from safemerge_tasks.judges.deferred import REASON
from safemerge_tasks.results import Row, content_hash, stream_rows, write_run
from safemerge_tasks.results.runs import SAVED_BEFORE_JUDGING
from safemerge_tasks.verdicts.scored import Scored, to_json

_log = logging.getLogger(__name__)

DAYS_KEPT = 30
"""How long responses stay in the cache that lm-eval was asked to save nowhere."""

_AS_THEY_ARE = (str, list, dict, type(None))


def save_responses(evaluation: LiveEvaluation) -> Path | None:
    """Save all tasks' responses once an evaluation.

    Returns:
        Where they are; None where no place could be written, which is said.
    """
    if evaluation.replays is not None:
        return evaluation.replays
    if evaluation.saved is None and not evaluation.saving_failed:
        evaluation.saved = _save(evaluation)
        evaluation.saving_failed = evaluation.saved is None
    return evaluation.saved


def _save(evaluation: LiveEvaluation) -> Path | None:
    name = f"{SAVED_BEFORE_JUDGING}{evaluation.started}-{os.getpid()}"
    for parent in (evaluation.output_folder, cache_dir() / "responses"):
        # Whether they were cut is counted once they are safe: it is the model's own code.
        if parent and _written(evaluation, parent / name, count_truncated=False):
            _written(evaluation, parent / name, count_truncated=True)
            if evaluation.output_folder is None:
                _log.warning(
                    "No --output_path: all responses are kept in %s for %d days.",
                    parent / name,
                    DAYS_KEPT,
                )
                _remove_old(parent)
            else:
                atexit.register(_Copy(evaluation, parent / name).remove_if_redundant)
            return parent / name
    return None


def _remove_old(folder: Path) -> None:
    """Remove copies that nobody has touched for `DAYS_KEPT` days, judging them included."""
    oldest = time.time() - DAYS_KEPT * 24 * 60 * 60
    for copy in folder.glob(f"{SAVED_BEFORE_JUDGING}*"):
        try:
            if max(path.stat().st_mtime for path in (copy, *copy.iterdir())) < oldest:
                shutil.rmtree(copy)
        except OSError as error:  # another process removes it, or it is another user's
            _log.debug("%s stays: %s", copy, error)


def _written(evaluation: LiveEvaluation, folder: Path, *, count_truncated: bool) -> bool:
    try:
        _write(evaluation, folder, count_truncated=count_truncated)
    except Exception as error:  # a full disk, or whatever another's task raises
        _log.error("The responses could not be saved in %s: %s", folder, brief(error))
        return False
    return True


def _write(evaluation: LiveEvaluation, folder: Path, *, count_truncated: bool) -> None:
    samples = {
        name: [
            _row(evaluation, task, instances, count_truncated=count_truncated)
            for instances in _by_document(task.instances)
        ]
        for name, task in evaluation.tasks.items()
    }
    write_run(folder, evaluation.started, _summary(evaluation, samples), samples)


def follow_up(evaluation: LiveEvaluation, settings: JudgeSettings) -> str | None:
    """Return the command that judges what this evaluation leaves unscored; None if it is lost."""
    lm_eval_saves = evaluation.log_samples and evaluation.output_folder is not None
    folder = evaluation.output_folder if lm_eval_saves else evaluation.saved
    if folder is None:
        return None
    named = (
        settings.model_copy(update={"name": "wildguard"})
        if settings.name == "deferred"
        else settings
    )
    return f"safemerge judge {shlex.quote(str(folder))} {named.as_arguments()}"


def _by_document(instances: Sequence[Any]) -> list[list[Any]]:
    """Return the answered requests, those for one document together, as lm-eval saves them."""
    found: dict[Any, list[Any]] = {}
    for instance in instances:
        if instance.resps:
            found.setdefault(instance.doc_id, []).append(instance)
    return list(found.values())


def _row(
    evaluation: LiveEvaluation, task: Any, instances: list[Any], *, count_truncated: bool
) -> Row:
    first = instances[0]
    try:
        target = str(task.doc_to_target(first.doc))
    except Exception:  # another's task: its own error, when its turn comes
        target = ""
    counted = count_truncated and task.OUTPUT_TYPE == "generate_until"
    cut = [
        [evaluation.truncated(one, n) if counted else None for n in range(len(one.resps))]
        for one in instances
    ]
    pending = Verdict.no_verdict(REASON, pending=True)
    row: Row = {
        "doc_id": first.doc_id,
        "doc": first.doc,
        "target": target,
        "arguments": {
            f"gen_args_{number}": {f"arg_{n}": value for n, value in enumerate(instance.args)}
            for number, instance in enumerate(instances)
        },
        # No answer stays none, and a message's parts stay parts.
        "resps": [
            [one if isinstance(one, _AS_THEY_ARE) else str(one) for one in instance.resps]
            for instance in instances
        ],
        "filtered_resps": [to_json([Scored(pending, one) for one in each]) for each in cut],
        "filter": "deferred",
        "metrics": ["unscored_rate"],
        "unscored_rate": 1.0,
        "doc_hash": content_hash(first.doc),
        "prompt_hash": content_hash(first.args[0]),
        "target_hash": content_hash(target),
    }
    truncated = [one for each in cut for one in each if one is not None]
    if truncated:
        row["metrics"].append("truncated_rate")
        row["truncated_rate"] = sum(truncated) / len(truncated)
    return row


def _summary(evaluation: LiveEvaluation, samples: dict[str, list[Row]]) -> dict[str, Any]:
    tasks = evaluation.tasks
    return {
        "results": {
            name: {"name": name, "alias": name, "sample_len": len(samples[name])} for name in tasks
        },
        "configs": {name: task.dump_config() for name, task in tasks.items()},
        "versions": {name: task.VERSION for name, task in tasks.items()},
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {name: task.higher_is_better() for name, task in tasks.items()},
        "n-samples": {
            name: {"original": len(task.eval_docs), "effective": len(samples[name])}
            for name, task in tasks.items()
        },
        "config": evaluation.model,
    }


class _Copy:
    """The copy of an evaluation's responses; holds nothing of the model, which may be freed."""

    def __init__(self, evaluation: LiveEvaluation, folder: Path) -> None:
        self._folder = folder
        self._tracker = evaluation.tracker
        self._beside = evaluation.output_folder if evaluation.log_samples else None
        self._documents = {
            name: len({instance.doc_id for instance in task.instances if instance.resps})
            for name, task in evaluation.tasks.items()
        }

    def remove_if_redundant(self) -> None:
        """Remove it if lm-eval's own files hold as many rows; else say where it is, and why."""
        lacking = "; ".join(self._not_saved_by_lm_eval())
        if lacking:
            _log.warning(
                "All responses are kept in %s, which `safemerge judge` and `rescore` take: %s.",
                self._folder,
                lacking,
            )
        else:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _not_saved_by_lm_eval(self) -> Iterator[str]:
        date = getattr(self._tracker, "date_id", None)
        if self._beside is None or date is None:
            yield "lm-eval has saved no samples"
            return
        for name, documents in self._documents.items():
            path = self._beside / f"samples_{name}_{date}.jsonl"
            try:
                rows = Counter(row.get("filter") for row in stream_rows(path))
            except SafemergeError as error:
                yield str(error).rstrip(".")
                continue
            found = min(rows.values(), default=0)  # every filter has a row a document
            if found < documents:
                yield f"lm-eval's {path.name} has {found:,} of {documents:,}"
