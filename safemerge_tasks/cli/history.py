"""The `safemerge history` command."""

from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._outputs import refuse_overwriting
from safemerge_tasks.common.atomic_write import write_file

app = typer.Typer(add_completion=False)


@app.command()
def history(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders or results files of lm_eval.", metavar="DIR…")
    ],
    plot: Annotated[Path | None, typer.Option(help="Write the plot as PNG.")] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="What each night is compared with: results or a frozen file; default: the first."
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="What decides; see `check init`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show the attack success rate of nightly runs in date order, when it changed, and verdicts.

    Each night is compared with the baseline as `safemerge check` does, task by task.

    Example: safemerge history nightly --plot drift.png
    """
    from safemerge_tasks.gate.frozen import load_evaluation
    from safemerge_tasks.gate.policy import Policy, read_policy
    from safemerge_tasks.report.documents.history import history_document
    from safemerge_tasks.report.figures.history import draw_history
    from safemerge_tasks.report.history import read_history
    from safemerge_tasks.report.renderers.json import as_json as json_of
    from safemerge_tasks.report.renderers.terminal import print_document

    refuse_overwriting({"--plot": plot}, (*folders, baseline, policy))
    asked = read_policy(policy) if policy else Policy()
    compared = load_evaluation(baseline, asked.cluster_by) if baseline else None
    found = read_history(folders, compared, asked)
    if plot:
        write_file(plot, draw_history(found))
    document = history_document(found)
    if as_json:
        print(json_of(document), end="")
    else:
        print_document(document)
