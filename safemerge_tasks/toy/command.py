"""The `safemerge demo` command."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for models, results, table and plot.")] = Path(
        "demo-output"
    ),
    lambdas: Annotated[
        str, typer.Option("--lambda", help="Weights of the fine-tuned model to merge with.")
    ] = "0.2,0.4,0.6,0.8",
    methods: Annotated[
        str, typer.Option(help="Any of linear, slerp, dare-linear, model-stock, resta.")
    ] = "linear",
    model: Annotated[
        str | None, typer.Option(help="lm-eval's engine, vllm or hf; else what is installed.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Models evaluated at once.")] = None,
) -> None:
    """Train the toy family, merge, evaluate with lm_eval, judge, and show table and plot.

    Example: safemerge demo --out demo-output --methods linear,slerp
    """
    from rich.console import Console

    from safemerge_tasks.toy.run import run_demo

    console = Console(width=None if Console().is_terminal else 100)
    weights = [float(part) for part in lambdas.split(",")]
    run_demo(out, weights, methods.split(","), model, jobs, console)
