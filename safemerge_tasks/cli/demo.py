"""The `safemerge demo` command."""

import typer

from safemerge_tasks.toy.command import demo

app = typer.Typer(add_completion=False)
app.command()(demo)
