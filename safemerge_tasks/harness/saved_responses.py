"""What the model under test wrote, on disk before a judge starts.

lm-eval saves nothing until every task is scored. A judge that takes the process down with it would
lose every generation, so all responses are first saved in lm-eval's own two file formats, where
`safemerge judge` can read them; the copy goes away once lm-eval has saved the samples itself.
"""

import atexit
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.judges import JudgeSettings, Verdict
from safemerge_tasks.judges.deferred import REASON
from safemerge_tasks.results import Row, content_hash, write_run
from safemerge_tasks.results.runs import SAVED_BEFORE_JUDGING
from safemerge_tasks.verdicts.scored import Scored


def save_responses(evaluation: LiveEvaluation) -> Path:
    """Save all tasks' responses once an evaluation; return where they are."""
    if evaluation.replays is not None:
        return evaluation.replays
    if evaluation.saved is None:
        parent = evaluation.output_folder or cache_dir() / "responses"
        folder = parent / f"{SAVED_BEFORE_JUDGING}{evaluation.started}-{os.getpid()}"
        samples = {name: _rows(evaluation, task) for name, task in evaluation.tasks.items()}
        write_run(folder, evaluation.started, _summary(evaluation, samples), samples)
        evaluation.saved = folder
        atexit.register(_remove_if_redundant, evaluation, folder)
    return evaluation.saved


def follow_up(evaluation: LiveEvaluation, settings: JudgeSettings) -> str:
    """Return the command that judges what this evaluation leaves unscored."""
    lm_eval_saves = evaluation.log_samples and evaluation.output_folder is not None
    folder = evaluation.output_folder if lm_eval_saves else evaluation.saved
    named = (
        settings.model_copy(update={"name": "wildguard"})
        if settings.name == "deferred"
        else settings
    )
    return f"safemerge judge {shlex.quote(str(folder))} {named.as_arguments()}"


def _rows(evaluation: LiveEvaluation, task: Any) -> list[Row]:
    return [_row(evaluation, task, instance) for instance in task.instances if instance.resps]


def _row(evaluation: LiveEvaluation, task: Any, instance: Any) -> Row:
    deferred = Scored(Verdict.no_verdict(REASON, pending=True), None).to_json()
    target = str(task.doc_to_target(instance.doc))
    arguments = {f"arg_{index}": value for index, value in enumerate(instance.args)}
    row: Row = {
        "doc_id": instance.doc_id,
        "doc": instance.doc,
        "target": target,
        "arguments": {"gen_args_0": arguments},
        "resps": [[str(response) for response in instance.resps]],
        "filtered_resps": [deferred],
        "filter": "deferred",
        "metrics": ["unscored_rate"],
        "unscored_rate": 1.0,
        "doc_hash": content_hash(instance.doc),
        "prompt_hash": content_hash(instance.args[0]),
        "target_hash": content_hash(target),
    }
    truncated = evaluation.truncated(instance) if task.OUTPUT_TYPE == "generate_until" else None
    if truncated is not None:
        row["metrics"].append("truncated_rate")
        row["truncated_rate"] = float(truncated)
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


def _remove_if_redundant(evaluation: LiveEvaluation, folder: Path) -> None:
    date = getattr(evaluation.tracker, "date_id", None)
    if not evaluation.log_samples or evaluation.output_folder is None or date is None:
        return
    saved = [evaluation.output_folder / f"samples_{name}_{date}.jsonl" for name in evaluation.tasks]
    if all(path.is_file() for path in saved):
        shutil.rmtree(folder)
