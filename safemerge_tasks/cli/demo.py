"""The `safemerge demo` command."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from rich.console import Console

    from safemerge_tasks.sweep.spec import SweepSpec

app = typer.Typer(add_completion=False)

NOT_SHOWN = 1


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for results, table and plot.")] = Path(
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
    jobs: Annotated[int | None, typer.Option(help="Processes at once; else one a core.")] = None,
) -> None:
    """Train the toy family, merge, evaluate, judge, and show table and plot.

    Exit status: 0 the effect shows, 1 it does not, 2 something failed.

    Example: safemerge demo --out demo-output --methods linear,slerp
    """
    from importlib.util import find_spec

    from rich.console import Console

    from safemerge_tasks.sweep.demo import demo_sweep
    from safemerge_tasks.toy.family import is_trained, toy_family

    console = Console(width=None if Console().is_terminal else 100)
    started = time.monotonic()
    console.print(
        "Some 2 minutes on two idle cores."
        if is_trained()
        else "Some 4 minutes on two idle cores, half of them to train the toy family once."
    )
    console.print("1. The toy family: an aligned model, fine-tuned ones, and a guard that judges.")
    family = toy_family(lambda line: console.print(line, highlight=False, soft_wrap=True))
    engine = model or ("vllm" if find_spec("vllm") else "hf")
    spec = demo_sweep(family, methods.split(","), _numbers(lambdas), engine, jobs)
    console.print(f"2. Merge back toward the aligned model ({methods}), evaluate, judge: {engine}.")
    missing = _run(spec, out, console)
    console.print(f"Done in {time.monotonic() - started:.0f} s.")
    for shortfall in missing:
        console.print(f"Not as expected: {shortfall}.", style="yellow", markup=False)
    if missing:
        sys.exit(NOT_SHOWN)


def _run(spec: "SweepSpec", out: Path, console: "Console") -> list[str]:
    """Run the sweep, show what it found, and return what did not come out as it should."""
    from safemerge_tasks.report.renderers.terminal import print_document
    from safemerge_tasks.sweep.demo import demo_document, shortfalls
    from safemerge_tasks.sweep.prepare import default_store, prepare
    from safemerge_tasks.sweep.report.files import write_report
    from safemerge_tasks.sweep.report.findings import find
    from safemerge_tasks.sweep.run import run_sweep, warm_start

    warm = warm_start(spec)
    done = run_sweep(prepare(spec, default_store()), out, console, warm=warm)
    written = write_report(out, out / "report")
    findings = find(done.manifest, out)
    print_document(demo_document(findings), console)
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    return [*done.progress.reasons.values(), *shortfalls(findings)]


def _numbers(text: str) -> list[float]:
    """Return the weights.

    Raises:
        SafemergeError: one is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SafemergeError(
            f"--lambda {text!r} is no list of numbers; write --lambda 0.2,0.4."
        ) from None
