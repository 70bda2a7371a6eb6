"""The `safemerge verify` command."""

import typer

from merge.command import verify

app = typer.Typer(add_completion=False)
app.command()(verify)
