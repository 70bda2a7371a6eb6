"""A child ends when its parent is ended, however that is done."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from safemerge_tasks.common.child_process import run_child

SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPS
# A shell's background job ignores interrupts, and what it starts inherits that.
PARENT = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from safemerge_tasks.common.child_process import run_child;"
    "sys.exit(run_child([sys.executable, '-c', sys.argv[1]], grace=0.5))"
)

Start = Callable[..., tuple["subprocess.Popen[str]", int]]


@pytest.fixture
def start() -> Start:
    """Return what starts a parent and its child, and waits until both are there."""

    def start(child: str, prefix: tuple[str, ...] = ()) -> tuple["subprocess.Popen[str]", int]:
        command = [*prefix, sys.executable, "-c", PARENT, child]
        parent = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=hear_hang_ups
        )
        assert parent.stdout is not None
        return parent, int(parent.stdout.readline())

    return start


def hear_hang_ups() -> None:
    """Undo what `nohup make test` would hand down."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def gone(process: int) -> bool:
    """Wait until a process has ended; one that its new parent has not buried yet has, too."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # before or while it is read
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("child", [SLEEPS, STUBBORN])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_the_child_ends_with_its_parent(start: Start, child: str, number: signal.Signals) -> None:
    parent, process = start(child)
    parent.send_signal(number)
    assert gone(process)
    assert parent.wait(10) == -number


def test_an_interrupt_reaches_both_and_is_waited_for(start: Start) -> None:
    parent, process = start(SLEEPS)
    parent.send_signal(signal.SIGINT)  # to the parent alone: the child outlasts its grace
    assert gone(process)
    assert parent.wait(10) != 0


def test_a_closed_terminal_is_ignored_where_the_user_said_so(start: Start) -> None:
    parent, process = start("import time;" + SLEEPS.replace("60", "1"), prefix=("nohup",))
    parent.send_signal(signal.SIGHUP)
    assert parent.wait(20) == 0
    assert gone(process)


@pytest.mark.parametrize("status", [0, 3])
def test_a_childs_status_is_returned_and_handlers_are_as_before(status: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run_child([sys.executable, "-c", f"raise SystemExit({status})"]) == status
    assert signal.getsignal(signal.SIGTERM) is before


def test_output_goes_where_it_is_sent(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_child([sys.executable, "-c", "print('bread')"], output=2) == 0
    assert capfd.readouterr() == ("", "bread\n")
