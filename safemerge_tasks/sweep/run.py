"""Running a sweep: the graph, the runner, the view, and what comes out."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from rich.console import Console

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.assemble import assemble
from safemerge_tasks.sweep.graph import Graph
from safemerge_tasks.sweep.local import LocalRunner, refuse_too_much, visible_gpus
from safemerge_tasks.sweep.manifest import MANIFEST, Manifest
from safemerge_tasks.sweep.outcomes import read_sweep
from safemerge_tasks.sweep.prepare import Prepared, check_server
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.rates import Rates
from safemerge_tasks.sweep.rounds import next_round
from safemerge_tasks.sweep.scheduler import Scheduler
from safemerge_tasks.sweep.state import LOCK, STATE, describe, write_state
from safemerge_tasks.sweep.view import View

if TYPE_CHECKING:
    from safemerge_tasks.sweep.jobs import Runner

# Seconds; a state is a file that is written through to the disk.
_SHOW_EVERY = 0.5
_ASSEMBLE_EVERY = 5.0
_OURS = (STATE, LOCK, MANIFEST, "logs", "results", "report")


@dataclass(frozen=True)
class Finished:
    """What a run left behind: what was evaluated, how its steps went, and their graph."""

    manifest: Manifest
    progress: Progress
    graph: Graph


def run_sweep(
    prepared: Prepared,
    out: Path,
    console: Console,
    ray: str | None = None,
) -> Finished:
    """Do what is left of a sweep and put the results into `out`.

    Where only some points are asked, or only chosen ones test data, it takes several rounds.

    Args:
        prepared: the sweep.
        out: output folder; that of an earlier run goes on.
        console: where progress is shown.
        ray: address of a Ray cluster to run on; None runs here.

    Raises:
        SafemergeError: `out` is something else's, or another process is at it; or the engine's
            server does not answer.
    """
    with _held(out):
        if ray is None:
            check_server(prepared)
        prepared.store.tidy()
        runner, gpus = _runner(prepared, out / "logs", ray)
        # An engine of small models leaves cores idle that a GPU's would not.
        usual = max(1, gpus // max(1, prepared.spec.engine.ranks)) if gpus or ray else runner.slots
        engines = prepared.spec.engine.engines or usual
        earlier = None
        try:
            with View(console) as view:
                while True:
                    progress = _run_graph(prepared, out, runner, gpus, engines, view, earlier)
                    manifest = assemble(prepared, progress, out)
                    if prepared.wanted is None:
                        break
                    further = next_round(prepared, progress, read_sweep(manifest, out))
                    if not further.wanted:
                        manifest = further.noted_in(manifest)
                        manifest.write(out)
                        break
                    prepared = prepared.asking(further.wanted)
                    earlier = progress
        finally:
            runner.close()
        return Finished(manifest, progress, prepared.graph)


def _run_graph(
    prepared: Prepared,
    out: Path,
    runner: "Runner",
    gpus: int,
    engines: int,
    view: View,
    earlier: Progress | None,
) -> Progress:
    spec, graph = prepared.spec, prepared.graph
    rates = Rates(graph, prepared.store)
    shown, assembled, there = 0.0, time.monotonic(), 0

    def show(progress: Progress, left: float | None) -> None:
        state = describe(spec.name, graph, progress, left)
        write_state(out, state)
        view.show(state)

    def changed(progress: Progress) -> None:
        nonlocal shown, assembled, there
        if time.monotonic() - shown < _SHOW_EVERY:
            return
        shown = time.monotonic()
        finals = sum(progress.status.get(key) == "done" for key in graph.finals())
        if finals > there and shown - assembled >= _ASSEMBLE_EVERY:
            # Whoever draws the report meanwhile finds what is there.
            assemble(prepared, progress, out)
            assembled, there = time.monotonic(), finals
        show(progress, rates.remaining(progress, runner.slots))

    scheduler = Scheduler(
        graph,
        prepared.store,
        runner,
        resources=spec.resources,
        gpus=gpus,
        ranks=spec.engine.ranks,
        engines=engines,
        changed=changed,
        earlier=earlier,
    )
    try:
        return scheduler.run()
    finally:
        show(scheduler.progress, None)


def _runner(prepared: Prepared, logs: Path, ray: str | None) -> "tuple[Runner, int]":
    spec = prepared.spec
    minutes = spec.resources.stall_minutes
    stall = None if minutes is None else 60 * minutes
    if ray is not None:
        from safemerge_tasks.sweep.ray_runner import RayRunner

        cluster = RayRunner(prepared.store, logs, ray, stall)
        return cluster, cluster.gpus
    gpus = visible_gpus()
    refuse_too_much(spec, len(gpus))
    return LocalRunner(prepared.store, logs, spec.resources.jobs, gpus, stall), len(gpus)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Hold an output folder against other processes."""
    if out.is_file():
        raise SafemergeError(f"{out} is a file; give another --out.")
    if out.exists():
        names = {path.name for path in out.iterdir()} - {path.name for path in _unfinished(out)}
        foreign = sorted(names - set(_OURS))
        if foreign:
            raise SafemergeError(
                f"{out} holds {foreign[0]}, which is no sweep's; give another --out."
            )
    try:
        (out / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SafemergeError(
            f"{out} cannot be written ({error.strerror}); give another --out."
        ) from error
    try:
        with FileLock(out / LOCK, blocking=False):
            for path in _unfinished(out):
                path.unlink()
            yield
    except Timeout as error:
        raise SafemergeError(
            f"{out} is being written by another run of this sweep; wait for it, or see "
            f"`safemerge sweep status {os.fspath(out)}`."
        ) from error


def _unfinished(out: Path) -> list[Path]:
    """Return the files that a killed run was writing."""
    return [path for name in (STATE, MANIFEST) for path in out.glob(f".{name}.*.tmp")]
