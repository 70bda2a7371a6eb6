"""The `safemerge judge new` command."""

import shlex
from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="The judge's name; its file is NAME.py.")],
    out: Annotated[Path, typer.Option(help="The folder of your judges.")] = Path("judges"),
) -> None:
    """Write a judge of your own and its test.

    Saved results in a folder called new are judged with `safemerge judge ./new`.

    Example: safemerge judge new my_judge
    """
    from safemerge_tasks.judges.own.scaffold import new_judge

    made = new_judge(name, out)
    judge = shlex.quote(f"{made.file}:make")
    print(f"Fill in {made.file}, then:\n")
    print(f"python -m pytest {shlex.quote(str(made.test))}")
    print(f"safemerge judge results --judge {judge}")
