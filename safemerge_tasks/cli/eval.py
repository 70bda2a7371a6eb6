"""The `safemerge eval` command."""

import shlex
import sys

import typer

from safemerge_tasks.cli._judge_options import log_to_stderr
from safemerge_tasks.cli._judge_saved import judge_saved

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def evaluate(context: typer.Context) -> None:
    """Run lm_eval, then the judge once the model is out of memory.

    Takes lm_eval's own arguments, which `lm_eval run --help` lists, and needs --output_path;
    lm_eval runs in a process of its own, which is gone before the judge starts.

    Example: safemerge eval --model vllm --model_args pretrained=MODEL --batch_size auto
    --apply_chat_template --tasks advbench_asr --output_path results
    """
    from safemerge_tasks.harness.command_line import check_output, read_arguments, run_lm_eval
    from safemerge_tasks.judges import JudgeSettings, make_judge
    from safemerge_tasks.judges.judging.by_language import judges_whatever

    log_to_stderr()
    asked = read_arguments(context.args)
    settings = JudgeSettings.from_metadata(asked.judging)
    # Before anything slow: what cannot work would be found out after the generation.
    for one in judges_whatever(settings):
        make_judge(one).check()
    check_output(asked.output)
    run_lm_eval(context.args)
    if settings.name == "deferred":
        place = shlex.quote(str(asked.output))
        print(f"Judge later with: safemerge judge {place} --judge wildguard", file=sys.stderr)
        return
    judge_saved(asked.output, settings.each())
