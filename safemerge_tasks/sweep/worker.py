"""One job in a process of its own: `python -m safemerge_tasks.sweep.worker JOB.json`.

It tells what happens as JSON lines on standard output; everything else that is printed goes to
standard error. It ends, with all processes it started, when whoever started it is gone: standard
input, which that one holds open, then ends.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn


def run_and_exit(job: Path) -> NoReturn:
    """Do the job that a file describes and end this process."""
    status = _run(job)
    sys.stdout.flush()
    # Engines leave threads behind that would keep a finished job alive.
    os._exit(status)


def _run(file: Path) -> int:
    """Do a job; return the exit status."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(event: Mapping[str, Any]) -> None:
        with lock:
            events.write(json.dumps(event) + "\n")
            events.flush()

    from safemerge_tasks.common.errors import SafemergeError
    from safemerge_tasks.sweep.store import Store
    from safemerge_tasks.sweep.work import do_steps, step_from_json

    job = json.loads(file.read_text(encoding="utf-8"))
    steps = [step_from_json(step) for step in job["steps"]]
    try:
        do_steps(steps, Store(Path(job["store"])), tell)
    except SafemergeError as error:
        tell({"error": str(error), "ours": True})
        return 1
    except Exception as error:
        traceback.print_exc()
        tell({"error": f"{type(error).__name__}: {error}", "ours": False})
        return 1
    return 0


def _end_with_starter() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    # The starter made this process the leader of a group: engines and data loaders are in it.
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    run_and_exit(Path(sys.argv[1]))
