"""The `safemerge doctor` command."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)

BROKEN = 1
_SIGNS = {"works": "✓", "missing": "-", "broken": "✗"}


@app.command()
def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Link the tasks into the lm-eval in use first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say in one screen what works here: lm-eval, tasks, vLLM, GPU, sandbox, weights, data, disk.

    Exit status: 0 nothing is broken, 1 something is. What is only missing is needed by some jobs.

    Example: safemerge doctor --fix
    """
    from safemerge_tasks.harness.doctor import examine, link_tasks

    if fix:
        print(f"tasks are in {link_tasks()}", file=sys.stderr if as_json else sys.stdout)
    findings = examine()
    if as_json:
        print(json.dumps([asdict(one) for one in findings], indent=1))
    else:
        for one in findings:
            print(f"{_SIGNS[one.state]} {one.what:<10} {one.says}")
    if any(one.state == "broken" for one in findings):
        sys.exit(BROKEN)
