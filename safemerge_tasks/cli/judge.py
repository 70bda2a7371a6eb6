"""The `safemerge judge` command."""

from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._bench import bench
from safemerge_tasks.cli._calibrate import calibrate
from safemerge_tasks.cli._default_command import DEFAULT, app_with_default
from safemerge_tasks.cli._judge_new import new
from safemerge_tasks.cli._judge_options import (
    Engine,
    JudgeNames,
    Metadata,
    Model,
    Revision,
    Rubric,
    Url,
    Verbose,
    judges_asked_for,
    log_to_stderr,
    thinking_asked_for,
)
from safemerge_tasks.cli._judge_saved import judge_all, print_found, refuse_unfinished

app = app_with_default("Judge saved responses, measure or calibrate a judge, or write one.")
app.command("bench")(bench)
app.command("calibrate")(calibrate)
app.command("new")(new)


@app.command(DEFAULT, hidden=True)
def judge(
    results_dir: Annotated[Path, typer.Argument(help="A folder or results file of lm_eval.")],
    judge: JudgeNames = None,
    engine: Engine = None,
    model: Model = None,
    url: Url = None,
    revision: Revision = None,
    judge_prompt: Rubric = None,
    metadata: Metadata = None,
    verbose: Verbose = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge saved responses; results are rewritten in place beside a backup.

    Several judges give a row each. `safemerge judge bench` measures judges on responses that
    people labelled, `safemerge judge calibrate` corrects rates by such labels, and
    `safemerge judge new` writes a judge of your own.

    Example: safemerge judge results --judge wildguard --engine vllm
    """
    from safemerge_tasks.cli._live_run import LiveRun
    from safemerge_tasks.results import find_runs

    log_to_stderr()
    asked = judges_asked_for(judge, engine, model, url, revision, judge_prompt, metadata)
    thinking = thinking_asked_for(metadata)
    find_runs(results_dir)  # for its error, before anything is written
    folder = results_dir if results_dir.is_dir() else results_dir.parent
    with LiveRun(folder, "judge", verbose=verbose) as live:
        found = judge_all(results_dir, asked, live, thinking)
    print_found(results_dir, found, as_json=as_json)
    refuse_unfinished(found)
