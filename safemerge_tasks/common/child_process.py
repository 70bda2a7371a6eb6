"""Processes of our own that end with us."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it does."""
    if _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), None, None, None) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {_PR_SET_PDEATHSIG}: {os.strerror(number)}")


def run_child(
    command: Sequence[str],
    grace: float = 30.0,
    output: int | None = None,
    kept: Sequence[int] = (),
) -> int:
    """Run a command that ends when this process is ended; return its exit status.

    A signal to end is passed on, and ends this process too, once the child has gone.

    Args:
        command: the command.
        grace: seconds that the child has to end by itself, before it is killed.
        output: the descriptor that it prints to, errors included; None for this process's two.
        kept: further descriptors that stay open in it.
    """
    received: list[int] = []
    child = subprocess.Popen(
        command,
        stdout=output,
        stderr=output,
        pass_fds=kept,
        preexec_fn=partial(_end_with, os.getpid()),
    )

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        child.send_signal(number)
        signal.signal(signal.SIGALRM, lambda *_: child.kill())
        signal.setitimer(signal.ITIMER_REAL, grace)

    heard = [number for number in _PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        status = child.wait()
    except BaseException:  # an interrupt, which the terminal sends to the child as well
        _wait_or_kill(child, grace)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for passed_on, handler in before.items():
            signal.signal(passed_on, handler)
    if received:
        signal.raise_signal(received[0])
    return status


def _wait_or_kill(child: "subprocess.Popen[bytes]", grace: float) -> None:
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _end_with(parent: int) -> None:
    end_with_parent()
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)
