"""The whole story on the toy family, in the order a user would tell it."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy.contenders import Contender, merge_contenders
from safemerge_tasks.toy.evaluation import (
    evaluate_all,
    fitting_backend,
    judge_all,
    parallel_runs,
)
from safemerge_tasks.toy.family import toy_family
from safemerge_tasks.toy.outcome import (
    RowOfTable,
    best_merge,
    build_rows,
    read_outcomes,
    shortfalls,
)
from safemerge_tasks.toy.presentation import build_table, save_plot

MARK = "demo.json"


def run_demo(
    out: Path,
    weights: Sequence[float],
    methods: Sequence[str],
    backend: str | None,
    jobs: int | None,
    console: Console,
) -> None:
    """Train, merge, evaluate, judge, and show; everything is left in `out`.

    Raises:
        SafemergeError: `out` holds something else, or a step failed.
    """
    started = time.monotonic()
    _make_room(out)
    backend = backend or fitting_backend()
    console.print("1. The toy family: aligned, fine-tuned and unaligned models, and a guard.")
    family = toy_family(progress=console.print)
    trained = time.monotonic()
    console.print(
        "2. Merge each fine-tuned model back toward the aligned one: "
        f"{', '.join(methods)}, λ = {[*weights]}."
    )
    contenders = merge_contenders(family, weights, out / "models", methods)
    console.print(f"3. Evaluate {len(contenders)} models with lm_eval --model {backend}.")
    results, logs = out / "results", out / "logs"
    _evaluate(contenders, backend, family.questions, results, logs, jobs, console)
    console.print("4. Judge all responses with toy-guard through the wildguard judge.")
    judge_all(results, backend=backend, guard=family.guard, logs=logs)
    rows = build_rows(contenders, [read_outcomes(results, one) for one in contenders])
    (out / MARK).write_text(json.dumps([asdict(row) for row in rows], indent=2))
    _show(rows, out / "trade-off.png", console)
    console.print(
        f"Done in {time.monotonic() - started:.0f} s, {trained - started:.0f} s of them for the "
        "toy family (none once it is cached)."
    )


def _make_room(out: Path) -> None:
    """Take an empty folder, or replace an earlier demo, and nothing else."""
    if out.exists():
        ours = {"models", "results", "logs", MARK, "trade-off.png"}
        foreign = sorted(path.name for path in out.iterdir() if path.name not in ours)
        if foreign:
            raise SafemergeError(
                f"{out} holds {foreign[0]}, which is no demo's; give another --out."
            )
        shutil.rmtree(out)
    out.mkdir(parents=True)


def _evaluate(
    contenders: Sequence[Contender],
    backend: str,
    data: Path,
    results: Path,
    logs: Path,
    jobs: int | None,
    console: Console,
) -> None:
    columns = (TextColumn("   lm_eval"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("lm_eval", total=len(contenders))

        def done(contender: Contender) -> None:
            progress.advance(task)
            if not console.is_terminal:
                console.print(f"   {contender.name}")

        evaluate_all(
            contenders,
            backend=backend,
            data=data,
            results=results,
            logs=logs,
            jobs=jobs or parallel_runs(),
            done=done,
        )


def _show(rows: Sequence[RowOfTable], plot: Path, console: Console) -> None:
    console.print(build_table(rows))
    save_plot(rows, plot)
    console.print(f"Plot: {plot}")
    tuned = next(row for row in reversed(rows) if row.kind == "tuned")
    best = best_merge(rows, tuned)
    if best is not None:
        console.print(
            f"Merging ({best.label}) brings the mean ASR from {tuned.asr[0]:.0%} to "
            f"{best.asr[0]:.0%} and keeps {best.task / tuned.task:.0%} of the task score."
        )
    for shortfall in shortfalls(rows):
        console.print(f"Not as expected: {shortfall}.", style="yellow")
