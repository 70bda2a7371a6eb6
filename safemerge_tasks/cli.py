"""The `safemerge` command.

Only this file, the sweep and the demo see both packages. Every command imports what it needs when
it runs, so `safemerge --help` does not wait for torch.
"""

import sys
from typing import Annotated

import typer

from merge.command import merge as merge_command
from merge.command import vector as vector_command
from merge.command import verify as verify_command
from merge.errors import MergeError
from safemerge_tasks import __version__
from safemerge_tasks.check_command import app as check_app
from safemerge_tasks.demo.command import demo as demo_command
from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.finetune.command import finetune as finetune_command
from safemerge_tasks.judge_command import app as judge_app
from safemerge_tasks.judge_command import evaluate as eval_command
from safemerge_tasks.report_command import history as history_command
from safemerge_tasks.report_command import report as report_command
from safemerge_tasks.rescore_command import rescore as rescore_command
from safemerge_tasks.suite_command import app as suite_app
from safemerge_tasks.sweep.command import app as sweep_app

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    name="safemerge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"safemerge {__version__}")
        raise typer.Exit


@app.callback()
def safemerge(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Measure and restore the safety of fine-tuned language models.

    Example: safemerge suite list
    """


app.command("merge")(merge_command)
app.command("vector")(vector_command)
app.command("verify")(verify_command)
app.add_typer(judge_app, name="judge", help="Judge saved responses, or calibrate a judge.")
app.command("eval", context_settings=PASS_THROUGH)(eval_command)
app.command("rescore")(rescore_command)
app.add_typer(check_app, name="check", help="Fail if a candidate is less safe than a baseline.")
app.command("report")(report_command)
app.command("history")(history_command)
app.add_typer(sweep_app, name="sweep", help="The whole grid from one file, or how far it is.")
app.command("finetune")(finetune_command)
app.command("demo")(demo_command)
app.add_typer(suite_app, name="suite")

BAD_INPUT = 2


def main() -> None:
    """Run the command line; bad input is one sentence on standard error and exit status 2."""
    try:
        app()
    except (SafemergeError, MergeError) as error:
        print(f"safemerge: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
