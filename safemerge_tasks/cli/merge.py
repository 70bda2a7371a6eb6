"""The `safemerge merge` command."""

import typer

from merge.command import merge

app = typer.Typer(add_completion=False)
app.command()(merge)
