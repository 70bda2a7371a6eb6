"""The `safemerge vector` command."""

import typer

from merge.command import vector

app = typer.Typer(add_completion=False)
app.command()(vector)
