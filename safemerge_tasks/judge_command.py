"""The `safemerge judge` and `safemerge eval` commands."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from safemerge_tasks.calibrate_command import calibrate
from safemerge_tasks.default_command import DEFAULT, app_with_default
from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.judge_options import (
    Engine,
    JudgeNames,
    Metadata,
    Model,
    Revision,
    Rubric,
    Url,
    judges_asked_for,
    log_to_stderr,
)

if TYPE_CHECKING:
    from safemerge_tasks.judges.settings import JudgeSettings


app = app_with_default()
app.command("calibrate")(calibrate)


@app.command(DEFAULT, hidden=True)
def judge(
    results_dir: Annotated[Path, typer.Argument(help="A folder that lm_eval wrote.")],
    judge: JudgeNames = None,
    engine: Engine = None,
    model: Model = None,
    url: Url = None,
    revision: Revision = None,
    judge_prompt: Rubric = None,
    metadata: Metadata = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge saved responses; results are rewritten in place beside a backup.

    Several judges give a row each. `safemerge judge calibrate` compares judges with people.

    Example: safemerge judge results --judge wildguard --engine vllm
    """
    log_to_stderr()
    asked = judges_asked_for(judge, engine, model, url, revision, judge_prompt, metadata)
    judge_saved(results_dir, asked, as_json=as_json)


def judge_saved(results_dir: Path, asked: "list[JudgeSettings]", *, as_json: bool = False) -> None:
    """Judge with each judge in turn, print what they found, and fail if anything is left over.

    Raises:
        SafemergeError: nothing to judge, a judge that cannot work, or responses it failed on.
    """
    from safemerge_tasks.judges import make_judge
    from safemerge_tasks.rejudge import judge_folder
    from safemerge_tasks.results import find_runs

    if any(settings.name == "deferred" for settings in asked):
        raise SafemergeError("--judge deferred judges nothing; name the judge, such as wildguard.")
    find_runs(results_dir)  # for its error, which comes before a judge's
    for settings in asked:
        # Before the first one's work: that a later one cannot work would be found out after it.
        make_judge(settings).check()
    console = Console(stderr=True)
    with console.status("judging") as status:

        def show(task: str) -> None:
            status.update(f"judging {escape(task)}")

        found = [judge_folder(results_dir, settings, show) for settings in asked]
    if as_json:
        reports = [
            {"judge": one.judge, "identity": one.identity, "results": one.tables} for one in found
        ]
        print(json.dumps(reports[0] if len(reports) == 1 else reports, indent=2))
    else:
        from safemerge_tasks.judged_table import print_tables

        for one in found:
            print_tables(one)
    pending = sum(one.pending for one in found)
    if pending:
        raise SafemergeError(
            f"the judge failed on {pending} responses, which stay unscored; the reasons are "
            "above, and the same command judges again."
        )


def evaluate(context: typer.Context) -> None:
    """Run lm_eval, then the judge once the model is out of memory.

    Takes lm_eval's own arguments; lm_eval runs in a process of its own, which is gone before the
    judge starts.

    Example: safemerge eval --model vllm --model_args pretrained=MODEL --batch_size auto
    --apply_chat_template --tasks advbench_asr --output_path results
    """
    from safemerge_tasks.judges import JudgeSettings, make_judge

    log_to_stderr()
    arguments, settings_given, output = split_arguments(context.args)
    settings = JudgeSettings.from_metadata(settings_given)
    # Before anything slow: a judge that cannot work would be found out after the generation.
    make_judge(settings).check()
    ran = subprocess.run([sys.executable, "-m", "lm_eval", *arguments], check=False)
    if ran.returncode != 0:
        raise SafemergeError(f"lm_eval ended with status {ran.returncode}; see its output above.")
    if settings.name == "deferred":
        print(f"Judge later with: safemerge judge {output} --judge wildguard", file=sys.stderr)
        return
    judge_saved(output, [settings])


def split_arguments(arguments: list[str]) -> tuple[list[str], dict[str, str], Path]:
    """Return lm_eval's arguments with judging deferred, the judge's settings, the output folder.

    Raises:
        SafemergeError: no --output_path, without which there is nothing to judge.
    """
    rest: list[str] = []
    judging: dict[str, str] = {}
    output: str | None = None
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        name, equals, inline = word.partition("=")
        if name == "--metadata":
            values = [inline] if equals else []
            while not equals and pending and not pending[0].startswith("--"):
                values.append(pending.pop(0))
            others = _take_judging(values, judging)
            if others:
                rest += ["--metadata", ",".join(others)]
            continue
        if name in ("--output_path", "-o"):
            output = inline if equals else (pending[0] if pending else None)
        rest.append(word)
    if not output:
        raise SafemergeError("safemerge eval needs --output_path DIR, where responses are saved.")
    if "--log_samples" not in rest and "-s" not in rest:
        rest.append("--log_samples")
    return _with_metadata(rest, "judge=deferred"), judging, Path(output)


def _take_judging(values: list[str], judging: dict[str, str]) -> list[str]:
    others = []
    for pair in (pair for value in values for pair in value.split(",") if pair):
        key, _, text = pair.partition("=")
        if key == "judge" or key.startswith("judge_"):
            judging[key] = text
        else:
            others.append(pair)
    return others


def _with_metadata(arguments: list[str], pair: str) -> list[str]:
    if "--metadata" in arguments:
        place = arguments.index("--metadata") + 1
        return [*arguments[:place], f"{arguments[place]},{pair}", *arguments[place + 1 :]]
    return [*arguments, "--metadata", pair]
