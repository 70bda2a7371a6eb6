"""The `safemerge attack` command."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._judge_options import (
    Engine,
    JudgeNames,
    Model,
    Revision,
    Rubric,
    Url,
    Verbose,
    judges_asked_for,
    log_to_stderr,
    parse_pairs,
)
from safemerge_tasks.cli._judge_saved import refuse_deferred

app = typer.Typer(add_completion=False)


@app.command()
def attack(
    models: Annotated[
        list[str], typer.Argument(help="Folders or Hub ids, such as base and tuned.")
    ],
    suite: Annotated[str, typer.Option(help="A suite or task, as `safemerge suite list` has it.")],
    attacks: Annotated[
        str, typer.Option(help="Joined by commas; plain asks politely, once.")
    ] = "plain,prefill:5,sample:16,no-system",
    backend: Annotated[str, typer.Option(help="lm-eval's --model.")] = "vllm",
    model_args: Annotated[str, typer.Option(help="lm-eval's --model_args, but the model.")] = "",
    include_path: Annotated[Path | None, typer.Option(help="The folder of your suites.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first questions alone.")] = None,
    batch_size: Annotated[str | None, typer.Option(help="lm-eval's --batch_size.")] = None,
    chat_template: Annotated[bool, typer.Option(help="Apply the model's chat template.")] = True,
    out: Annotated[Path, typer.Option(help="Where results go, a folder a run.")] = Path("attacks"),
    judge: JudgeNames = None,
    engine: Engine = None,
    judge_model: Model = None,
    url: Url = None,
    revision: Revision = None,
    judge_prompt: Rubric = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="attack_key=value[,…] and judge_key=value, as in lm-eval's --metadata."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="ASR against prefilled tokens, .png or .svg.")
    ] = None,
    verbose: Verbose = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a suite under several attacks, all in one engine, and print how safe the worst leaves it.

    The judge starts once the models have answered and are out of memory.

    Example: safemerge attack MODEL --suite advbench --attacks plain,prefill:5,sample:16,no-system
    """
    from safemerge_tasks.attacks import AttackName, refuse_settings_of_none
    from safemerge_tasks.cli import _attack_table as table
    from safemerge_tasks.cli._live_run import LiveRun
    from safemerge_tasks.common.errors import SafemergeError
    from safemerge_tasks.harness.command_line import (
        attack_arguments,
        check_output,
        read_arguments,
    )
    from safemerge_tasks.judges import make_judge
    from safemerge_tasks.judges.judging.by_language import judges_whatever
    from safemerge_tasks.report.figures.canvas import format_of
    from safemerge_tasks.report.under_attack import read_under_attack

    log_to_stderr()
    pairs = parse_pairs(metadata or [])
    judging = [f"{key}={value}" for key, value in pairs.items() if key.startswith("judge")]
    others = {key: value for key, value in pairs.items() if not key.startswith("judge")}
    asked = judges_asked_for(judge, engine, judge_model, url, revision, judge_prompt, judging)
    wanted = [one.strip() for one in attacks.split(",") if one.strip()]
    refuse_settings_of_none(others, wanted)
    rows = [AttackName.read(one).row for one in wanted]
    if not rows or len(set(rows)) < len(rows):
        raise SafemergeError(f"--attacks {attacks} names {'one twice' if rows else 'none'}.")
    refuse_deferred(asked)
    for settings in asked:
        for one in judges_whatever(settings):
            make_judge(one).check()
    suffix = format_of(plot) if plot else None
    if plot:
        table.refuse_without_curve(plot, rows)
    place = out / datetime.now().isoformat(timespec="seconds").replace(":", "-")
    folders = [place / str(number) for number in range(1, len(models) + 1)]
    runs = [
        attack_arguments(
            model,
            suite,
            wanted,
            folder,
            backend=backend,
            model_args=model_args,
            include_path=include_path,
            limit=limit,
            batch_size=batch_size,
            chat_template=chat_template,
            metadata=others,
        )
        for model, folder in zip(models, folders, strict=True)
    ]
    for words in runs:
        check_output(read_arguments(words).output)
    with LiveRun(place, "attack", verbose=verbose) as live:
        for number, words in enumerate(runs, 1):
            live.stage(f"starting lm_eval, {number} of {len(runs)}")
            live.run_lm_eval(words)
        judged = table.judge_all(place, asked, live)
    found = [
        one
        for folder in folders
        for name in judged
        for one in read_under_attack(folder, name, rows)
    ]
    if plot and suffix:
        table.write_plot(plot, suffix, found)
    if as_json:
        table.print_json(found)
    else:
        for suite_found in found:
            table.print_table(suite_found)
