"""The `safemerge rescore` command."""

import json
from pathlib import Path
from typing import Annotated

import typer

from safemerge_tasks.cli._judge_options import log_to_stderr, thinking_asked_for

app = typer.Typer(add_completion=False)


@app.command()
def rescore(
    results_dir: Annotated[Path, typer.Argument(help="A folder or results file of lm_eval.")],
    timeout: Annotated[float, typer.Option(help="Seconds for each check.")] = 3.0,
    memory_mb: Annotated[int, typer.Option(help="Address space of each check, in MiB.")] = 1024,
    workers: Annotated[int | None, typer.Option(help="Checks at a time; one a processor.")] = None,
    sandbox: Annotated[str, typer.Option(help="namespaces, or none at your own risk.")] = (
        "namespaces"
    ),
    thinking: Annotated[
        str | None, typer.Option(help="auto, off or START...END; as the run had it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the code in saved HumanEval responses again; results are rewritten beside a backup.

    Example: safemerge rescore results --workers 8
    """
    from safemerge_tasks.humaneval.saved_results import rescore_folder
    from safemerge_tasks.humaneval.settings import HumanEvalSettings

    log_to_stderr()
    given = {"timeout": timeout, "memory_mb": memory_mb, "workers": workers}
    metadata = {f"humaneval_{key}": value for key, value in given.items() if value is not None}
    settings = HumanEvalSettings.from_metadata({**metadata, "sandbox": sandbox})
    asked = thinking_asked_for(None if thinking is None else [f"thinking={thinking}"])
    tables = rescore_folder(results_dir, settings, asked)
    if as_json:
        print(json.dumps(tables, indent=2))
        return
    for path, tasks in tables.items():
        print(path)
        for task, row in tasks.items():
            for key in (key for key in row if "_stderr," not in key):
                metric, _, name = key.partition(",")
                error = row[f"{metric}_stderr,{name}"]
                spread = "" if isinstance(error, str) else f" ± {error:.4f}"
                print(f"  {task}  {metric}  {row[key]:.4f}{spread}")
