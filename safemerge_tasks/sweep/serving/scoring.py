"""Scores from recorded responses, by lm-eval itself."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.results import Run, find_runs
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.recording import Recording
from safemerge_tasks.sweep.serving.responses import Responses


def score(
    evaluation: Evaluation,
    recording: Recording,
    responses: Path,
    out: Path,
    model_args: Mapping[str, Any],
) -> Run:
    """Hand recorded responses to lm-eval and save its results and samples.

    Args:
        evaluation: what to score; if not what was recorded, prompts must be the same all the same.
        recording: the requests.
        responses: a variant's answers to them.
        out: folder for `results_*.json` and `samples_*.jsonl`; what is there is replaced, in one
            step.
        model_args: what the results shall say about the model, as lm-eval's `--model_args`.

    Raises:
        SafemergeError: the responses answer other requests than lm-eval asks now.
    """
    from safemerge_tasks.sweep.serving.replaying_model import ReplayingModel

    answered = Responses.load(responses)
    if not answered.fits(recording):
        raise SafemergeError(
            f"{responses} answers another recording; delete it and answer this one."
        )
    model = ReplayingModel(evaluation, recording, answered, responses)
    staging = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _run_and_save(model, evaluation, answered, dict(model_args), staging)
        run = _complete(staging)
        if out.exists():
            shutil.rmtree(out)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Run(out / run.path.name, {task: out / path.name for task, path in run.samples.items()})


def _run_and_save(
    model: Any,
    evaluation: Evaluation,
    answered: Responses,
    model_args: dict[str, Any],
    folder: Path,
) -> None:
    """Do what lm-eval's command line does after its evaluation."""
    from lm_eval.loggers import EvaluationTracker

    from safemerge_tasks.sweep.serving.asking import run_lm_eval

    # Under a file's name lm-eval puts both kinds of files right beside it.
    tracker = EvaluationTracker(output_path=str(folder / "results.json"))
    results = run_lm_eval(model, evaluation, model_args, tracker)
    # lm-eval knows the stand-in only; the responses are those of this model.
    tracker.general_config_tracker.model_source = answered.engine["model"]
    results["config"]["model"] = answered.engine["model"]
    results["config"]["replayed"] = {"recording": answered.recording, **answered.engine}
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])


def _complete(folder: Path) -> Run:
    """Return what lm-eval saved.

    Raises:
        RuntimeError: lm-eval logged an error of saving instead of raising it.
    """
    run = find_runs(folder)[0]
    missing = run.summary()["configs"].keys() - run.samples.keys()
    if missing:
        raise RuntimeError(f"lm-eval did not save the samples of {', '.join(sorted(missing))}")
    return run
