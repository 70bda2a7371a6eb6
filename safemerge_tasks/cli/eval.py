"""The `safemerge eval` command."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from safemerge_tasks.cli._judge_options import Verbose, log_to_stderr
from safemerge_tasks.cli._judge_saved import judge_all, refuse_unfinished

if TYPE_CHECKING:
    from safemerge_tasks.results import Run

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(context: typer.Context, verbose: Verbose = False) -> None:
    """Run lm_eval, then the judge once the model is out of memory.

    Takes lm_eval's own arguments, which `lm_eval run --help` lists, and needs --output_path;
    lm_eval runs in a process of its own, which is gone before the judge starts. What it and vLLM
    print is in eval_<date>.log beside the results.

    Example: safemerge eval --model vllm --model_args pretrained=MODEL --batch_size auto
    --apply_chat_template --tasks advbench_asr --output_path results
    """
    from rich.console import Console

    from safemerge_tasks.cli import _eval_screen
    from safemerge_tasks.cli._live_run import LiveRun
    from safemerge_tasks.harness.command_line import check_output, folder_of, read_arguments
    from safemerge_tasks.judges import JudgeSettings, make_judge
    from safemerge_tasks.judges.judging.by_language import judges_whatever

    log_to_stderr()
    asked = read_arguments(context.args)
    settings = JudgeSettings.from_metadata(asked.judging)
    # Before anything slow: what cannot work would be found out after the generation.
    for one in judges_whatever(settings):
        make_judge(one).check()
    check_output(asked.output)
    before = {run.path for run in _runs(asked.output)}
    deferred = settings.name == "deferred"
    with LiveRun(folder_of(asked.output), "eval", verbose=verbose) as live:
        live.stage("starting lm_eval")
        live.run_lm_eval(context.args)
        judged = [] if deferred else judge_all(asked.output, settings.each(), live)
    for run in _runs(asked.output):
        if run.path not in before and not run.only_saved:
            _eval_screen.show(
                run, place=asked.output, log=live.log, deferred=deferred, console=Console()
            )
    refuse_unfinished(judged)


def _runs(output: Path) -> "list[Run]":
    from safemerge_tasks.common.errors import SafemergeError
    from safemerge_tasks.results import find_runs

    try:
        return find_runs(output)
    except SafemergeError:  # there is none
        return []
