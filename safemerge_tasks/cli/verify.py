"""The `safemerge verify` command."""

from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._merging import Json, say

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A merged checkpoint, or the folder of several.")],
    as_json: Json = False,
) -> None:
    """Check a merged checkpoint against its manifest.

    Example: safemerge verify merged
    """
    from merge.output.verification import verify as run_verify

    folders = run_verify(folder)
    say({"verified": [str(path) for path in folders]}, as_json)
