"""The `safemerge history` command."""

import json
from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._writing import write_file

app = typer.Typer(add_completion=False)


@app.command()
def history(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders that lm_eval wrote.", metavar="DIR…")
    ],
    plot: Annotated[Path | None, typer.Option(help="Write the plot as PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show the attack success rate of nightly runs in date order, and whether it drifted.

    Example: safemerge history nightly --plot drift.png
    """
    from safemerge_tasks.report.history import as_records, read_history
    from safemerge_tasks.report.history_views import draw_history, print_history

    found = read_history(folders)
    if plot:
        write_file(plot, draw_history(found))
    if as_json:
        print(json.dumps(as_records(found), indent=2))
    else:
        print_history(found)
