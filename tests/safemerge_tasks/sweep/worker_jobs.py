"""Jobs whose work is code, done by the worker that stands in, and what comes of them."""

import time
from pathlib import Path
from typing import Any

import psutil

from safemerge_tasks.sweep.jobs import Event, Job, Runner
from safemerge_tasks.sweep.spec import Needs
from safemerge_tasks.sweep.steps import Step
from tests.programs import first_lines

STAND_IN = "tests.safemerge_tasks.sweep.stand_in_worker"
ROOT = Path(__file__).parents[3]
COLD = """{begin}import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from {stand_in} import run_and_exit
assert sys.argv[1:4] == ["-P", "-m", "safemerge_tasks.sweep.worker"], sys.argv
run_and_exit(Path(sys.argv[-1]))
"""

# A child in the same group, such as a vLLM engine, with the worker's standard output.
WITH_CHILD = """
child = subprocess.Popen([sys.executable.rpartition("/")[0] + "/python", "-c",
    "import time; time.sleep(120)"])
print(json.dumps({"child": child.pid}), flush=True)
"""


def cold_start(folder: Path) -> Path:
    """Return what runs as Python where a worker is started from nothing."""
    script = folder / "worker"
    script.write_text(COLD.format(begin=first_lines(), root=str(ROOT), stand_in=STAND_IN))
    script.chmod(0o755)
    return script


def job(number: int, code: str, **needs: Any) -> Job:
    step = Step(f"answer-{number}", "answer", "the loaf", "answers", (), {"code": code})
    return Job(number, (step,), Needs(**needs))


def until_end(runner: Runner, count: int = 1) -> list[Event]:
    """Return the events until that many jobs have ended."""
    events: list[Event] = []
    deadline = time.monotonic() + 30
    while sum(event.ended for event in events) < count:
        assert time.monotonic() < deadline, events
        event = runner.next_event(0.5)
        events += [event] if event else []
    return events


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def check_order_of_events(runner: Runner) -> None:
    """Check that a job's events are passed on in order, its end last."""
    code = 'print(\'{"progress": [1, 2]}\'); print(\'{"done": "answer-1"}\')'
    runner.start(job(1, code), ready=1)
    assert [(event.told, event.ended) for event in until_end(runner)] == [
        ({"progress": [1, 2]}, False),
        ({"done": "answer-1"}, False),
        ({}, True),
    ]
    assert runner.next_event(0) is None
