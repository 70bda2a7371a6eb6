"""The `safemerge eval` command."""

import sys

import typer

from safemerge_tasks.cli._judge_options import log_to_stderr
from safemerge_tasks.cli._judge_saved import judge_saved

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(context: typer.Context) -> None:
    """Run lm_eval, then the judge once the model is out of memory.

    Takes lm_eval's own arguments; lm_eval runs in a process of its own, which is gone before the
    judge starts.

    Example: safemerge eval --model vllm --model_args pretrained=MODEL --batch_size auto
    --apply_chat_template --tasks advbench_asr --output_path results
    """
    from safemerge_tasks.harness.command_line import run_lm_eval, split_arguments
    from safemerge_tasks.judges import JudgeSettings, make_judge

    log_to_stderr()
    arguments, settings_given, output = split_arguments(context.args)
    settings = JudgeSettings.from_metadata(settings_given)
    # Before anything slow: a judge that cannot work would be found out after the generation.
    make_judge(settings).check()
    run_lm_eval(arguments)
    if settings.name == "deferred":
        print(f"Judge later with: safemerge judge {output} --judge wildguard", file=sys.stderr)
        return
    judge_saved(output, [settings])
