"""The `safemerge demo` command."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from rich.console import Console

    from safemerge_tasks.sweep.demo import Expected, Shown
    from safemerge_tasks.sweep.spec import SweepSpec

app = typer.Typer(add_completion=False)

NOT_SHOWN = 1


class DemoModel(StrEnum):
    """What the demo is shown on."""

    TOY = "toy"
    SMOLLM2 = "smollm2"


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for results, table and plot; demo-output unless given."),
    ] = None,
    model: Annotated[
        DemoModel,
        typer.Option(
            help="The toy family, some 4 minutes; or SmolLM2-135M, a real model, up to an hour."
        ),
    ] = DemoModel.TOY,
    lambdas: Annotated[
        str | None,
        typer.Option(
            "--lambda", help="Weights of the fine-tuned model; 0.2,0.4,0.6,0.8 unless given."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Of the toy family: any of linear, slerp, dare-linear, model-stock, resta; "
            "linear unless given."
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="lm-eval's, vllm or hf; else what is installed.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes at once; else one a core.")] = None,
    cut: Annotated[
        bool, typer.Option(help="Of smollm2: a few questions and steps, to see that it runs.")
    ] = False,
) -> None:
    """Train, merge, evaluate and judge a small experiment, and show table and plot.

    Exit status: 0 the effect shows, 1 it does not, 2 something failed.

    Example: safemerge demo --out demo-output --methods linear,slerp
    """
    from importlib.util import find_spec

    from rich.console import Console

    from safemerge_tasks.cli._weights import read_weights

    if engine not in (None, "vllm", "hf"):
        raise SafemergeError(f"--engine {engine!r} is neither vllm nor hf; give one of them.")
    console = Console(width=None if Console().is_terminal else 100)
    chosen = engine or ("vllm" if find_spec("vllm") else "hf")
    folder = out or Path("demo-output" if model is DemoModel.TOY else "demo-smollm2")
    weights = None if lambdas is None else read_weights(lambdas)
    started = time.monotonic()
    if model is DemoModel.TOY:
        if cut:
            raise SafemergeError("--cut is for --model smollm2; the toy family has one size.")
        missing = _toy(folder, weights, (methods or "linear").split(","), chosen, jobs, console)
    else:
        if methods is not None:
            raise SafemergeError(
                "--methods is for the toy family: smollm2 shows all of them; remove it."
            )
        missing = _smollm2(folder, weights, chosen, jobs, console, cut=cut)
    console.print(f"Done in {time.monotonic() - started:.0f} s.")
    for shortfall in missing:
        console.print(f"Not as expected: {shortfall}.", style="yellow", markup=False)
    if missing:
        sys.exit(NOT_SHOWN)


def _toy(
    out: Path,
    lambdas: list[float] | None,
    methods: list[str],
    engine: str,
    jobs: int | None,
    console: "Console",
) -> list[str]:
    from safemerge_tasks.sweep.toy_demo import EXPECTED, SHOWN, demo_sweep
    from safemerge_tasks.toy.family import is_trained, toy_family

    console.print(
        "Some 2 minutes on two idle cores."
        if is_trained()
        else "Some 4 minutes on two idle cores, half of them to train the toy family once."
    )
    console.print("1. The toy family: an aligned model, fine-tuned ones, and a guard that judges.")
    family = toy_family(_teller(console))
    spec = demo_sweep(family, methods, lambdas or [0.2, 0.4, 0.6, 0.8], engine, jobs)
    console.print(
        f"2. Merge back toward the aligned model ({', '.join(methods)}), evaluate, judge: {engine}."
    )
    return _run(spec, SHOWN, EXPECTED, out, console)


def _smollm2(
    out: Path,
    lambdas: list[float] | None,
    engine: str,
    jobs: int | None,
    console: "Console",
    *,
    cut: bool,
) -> list[str]:
    from safemerge_tasks.smollm2.members import CUT, WHOLE
    from safemerge_tasks.sweep.smollm2_demo import EXPECTED, SHOWN, demo_sweep

    size = CUT if cut else WHOLE
    if lambdas is not None:
        size = replace(size, lambdas=tuple(lambdas))
    if not cut:
        console.print(
            "Up to an hour on two idle cores; run again after an interruption and it goes on."
        )
    console.print("1. SmolLM2-135M-Instruct, aligned: taught to refuse, and to go on answering.")
    spec = demo_sweep(size, engine, jobs, _teller(console))
    console.print(
        "2. Fine-tune it on word problems, merge back by every method, evaluate, judge, choose: "
        f"{engine}."
    )
    # A cut shows that every part works, and no effect.
    return _run(spec, SHOWN, None if cut else EXPECTED, out, console)


def _teller(console: "Console") -> Callable[[str], None]:
    return lambda line: console.print(line, highlight=False, soft_wrap=True)


def _run(
    spec: "SweepSpec", shown: "Shown", expected: "Expected | None", out: Path, console: "Console"
) -> list[str]:
    """Run the sweep, show what it found, and return what did not come out as it should."""
    from safemerge_tasks.report.renderers.terminal import print_document
    from safemerge_tasks.sweep.demo import demo_document, shortfalls
    from safemerge_tasks.sweep.prepare import default_store, prepare
    from safemerge_tasks.sweep.report.files import write_report
    from safemerge_tasks.sweep.report.findings import find
    from safemerge_tasks.sweep.run import run_sweep

    done = run_sweep(prepare(spec, default_store()), out, console)
    written = write_report(out, out / "report")
    findings = find(done.manifest, out)
    print_document(demo_document(findings, shown), console)
    for path in written:
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    missing = list(done.progress.reasons.values())
    return missing if expected is None else [*missing, *shortfalls(findings, expected)]
