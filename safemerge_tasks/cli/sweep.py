"""The `safemerge sweep` commands."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safemerge_tasks.cli._default_command import DEFAULT, app_with_default
from safemerge_tasks.common.errors import SafemergeError

if TYPE_CHECKING:
    from rich.console import Console

app = app_with_default("The whole grid from one file, or how far it is.")

FAILED = 1
INTERRUPTED = 130
AUTO = "auto"


@app.command(DEFAULT, hidden=True)
def sweep(
    file: Annotated[Path, typer.Argument(help="The sweep's YAML.", metavar="SWEEP.yaml")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Check everything and print what would be done.")
    ] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="Run the steps on a Ray cluster (extra `ray`).")
    ] = False,
    ray_address: Annotated[
        str, typer.Option(help="The cluster to use with --ray; auto finds a running one.")
    ] = AUTO,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; else sweeps/NAME. A rerun goes on.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Where finished steps are kept; several sweeps may share it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fine-tune, merge, evaluate, judge, choose and report: a whole grid from one file.

    Exit status: 0 all cells are there, 1 some failed, 2 bad input.

    `safemerge sweep status DIR` shows how far a running sweep is.

    Example: safemerge sweep examples/farn2024-toy.yaml --plan
    """
    from rich.console import Console

    from safemerge_tasks.cli._judge_options import log_to_stderr
    from safemerge_tasks.sweep.prepare import default_out, default_store, prepare
    from safemerge_tasks.sweep.spec import load_spec
    from safemerge_tasks.sweep.store import Store

    if ray_address != AUTO and not ray:
        raise SafemergeError("--ray-address needs --ray; add it.")
    log_to_stderr()
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 120)
    spec = load_spec(file)
    where = Store(store.resolve()) if store else default_store()
    if plan:
        from safemerge_tasks.sweep.local import visible_gpus

        gpus = None if ray else len(visible_gpus())
        _show_plan(prepare(spec, where, read=False), gpus, console, as_json)
        return
    from safemerge_tasks.sweep.run import run_sweep

    prepared = prepare(spec, where)
    for note in prepared.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    folder = out or default_out(spec)
    try:
        done = run_sweep(prepared, folder, console, ray_address if ray else None)
    except KeyboardInterrupt:
        console.print("Interrupted; run the same command again to go on.")
        sys.exit(INTERRUPTED)
    from safemerge_tasks.report.renderers.terminal import print_document
    from safemerge_tasks.sweep.report.document import summary_document
    from safemerge_tasks.sweep.report.files import write_report
    from safemerge_tasks.sweep.report.findings import find

    reasons = done.progress.reasons
    written = write_report(folder, folder / "report")
    if as_json:
        print(json.dumps(_outcome(folder, reasons, written), indent=1))
    else:
        print_document(summary_document(find(done.manifest, folder)), console)
        for path in written:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)
        for key, reason in reasons.items():
            step = done.graph.steps[key]
            if key not in done.progress.consequences:
                console.print(
                    f"failed: {step.kind} {step.name}: {reason}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
    if reasons:
        sys.exit(FAILED)


@app.command("status")
def status(
    folder: Annotated[Path, typer.Argument(help="A sweep's output folder.", metavar="DIR")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how far a sweep is, and whether it is running.

    Example: safemerge sweep status sweeps/farn2024-toy
    """
    from rich.console import Console

    from safemerge_tasks.sweep.state import read_state
    from safemerge_tasks.sweep.view import as_table

    state, running = read_state(folder)
    if as_json:
        print(json.dumps({**state, "is_running": running}, indent=1))
        return
    console = Console()
    on = f"on {state['host']}, process {state['process']}"
    console.print(
        f"{state['name']}: " + (f"running {on}" if running else "not running"), highlight=False
    )
    if not running:
        state |= {"running": [], "seconds_left": None}
    console.print(as_table(state))


@app.command("prune")
def prune_store(
    older_than: Annotated[float, typer.Option(help="Days since a result was made.", min=0)],
    store: Annotated[
        Path | None, typer.Option(help="The store; else that below the cache folder.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove old results from the store; output folders keep their copies.

    Example: safemerge sweep prune --older-than 30 --dry-run
    """
    from safemerge_tasks.sweep.prepare import default_store
    from safemerge_tasks.sweep.pruning import prune
    from safemerge_tasks.sweep.store import Store

    where = Store(store.resolve()) if store else default_store()
    if not where.root.is_dir():
        raise SafemergeError(f"{where.root} is no folder; name a store with --store.")
    done = prune(where, older_than, really=not dry_run)
    print(
        f"{'would remove' if dry_run else 'removed'} {done.steps} results, "
        f"{done.nbytes / 1e9:.2f} GB, from {where.root}"
    )


def _show_plan(prepared: Any, gpus: int | None, console: "Console", as_json: bool) -> None:
    from safemerge_tasks.sweep.plan import make_plan, print_plan

    made = make_plan(prepared, gpus)
    if as_json:
        print(json.dumps(made, indent=1, default=str))
    else:
        print_plan(made, console)


def _outcome(folder: Path, reasons: dict[str, str], written: list[Path]) -> dict[str, Any]:
    return {
        "out": str(folder),
        "failed": reasons,
        "written": [str(path) for path in written],
    }
