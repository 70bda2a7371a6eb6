"""`state.json`: how far a running sweep is, for `safemerge sweep status`."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.graph import Graph
from safemerge_tasks.sweep.progress import Progress
from safemerge_tasks.sweep.steps import KINDS

STATE = "state.json"
LOCK = ".running"


def describe(name: str, graph: Graph, progress: Progress, left: float | None) -> dict[str, Any]:
    """Return a sweep's progress as JSON.

    Args:
        name: the sweep's.
        graph: its steps.
        progress: how far they are.
        left: seconds, if known.
    """
    counts = {kind: dict.fromkeys(("done", "running", "waiting", "failed"), 0) for kind in KINDS}
    for key, status in progress.status.items():
        if status != "idle":
            counts[graph.steps[key].kind][status] += 1
    running = [
        {
            "name": job.name,
            "steps": len(job.steps),
            "since": since,
            "part": progress.parts.get(number),
        }
        for number, (job, since) in progress.running.items()
    ]
    failed = [
        {"kind": graph.steps[key].kind, "name": graph.steps[key].name, "reason": reason}
        for key, reason in progress.reasons.items()
        # One full disk is one failure, however many steps follow from it.
        if key not in progress.consequences
    ]
    return {
        "name": name,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "updated": time.time(),
        "steps": {kind: row for kind, row in counts.items() if any(row.values())},
        "running": running,
        "failed": failed,
        "seconds_left": left,
    }


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state in one step."""
    replace_file(folder / STATE, json.dumps(state, indent=1) + "\n")


def read_state(folder: Path) -> tuple[dict[str, Any], bool]:
    """Return the state of a sweep, and whether it is running now.

    Raises:
        SafemergeError: the folder is no sweep's.
    """
    path = folder / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SafemergeError(
            f"{folder} is no sweep's output folder; name the one that safemerge sweep wrote to."
        ) from error
    except json.JSONDecodeError as error:
        raise SafemergeError(f"{path} is broken ({error.msg}); run the sweep again.") from error
    if not isinstance(state, dict):
        raise SafemergeError(f"{path} is broken (no object); run the sweep again.")
    return state, is_running(folder)


def is_running(folder: Path) -> bool:
    """Return whether a process holds a sweep's output folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, blocking=False):
            return False
    except Timeout:
        return True
