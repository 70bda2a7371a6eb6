"""The process inside the sandbox that starts a candidate's process for each check and ends it.

It has Python ready, so a candidate costs a fork and not a start of Python. It never runs model
code, and does not decide anything: what a candidate is asked and whether its answers are right is
known only outside the sandbox.
"""

import contextlib
import gc
import importlib
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from safemerge_tasks.sandbox import linux
from safemerge_tasks.sandbox.candidate import live
from safemerge_tasks.sandbox.confinement import bound, confine
from safemerge_tasks.sandbox.limits import ResourceLimits

START = b"s"
END = b"e"

_COMMON = (
    *("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools"),
    *("hashlib", "heapq", "itertools", "math", "numbers", "operator", "random", "re", "statistics"),
    *("string", "textwrap", "time", "typing", "unicodedata"),
)
"""Imported once for all candidates; whatever else they import is read when they do."""


def warm_up() -> None:
    """Import what candidates commonly use, and keep the collector from copying it."""
    for name in _COMMON:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(control: socket.socket, limits: ResourceLimits, *, isolated: bool) -> NoReturn:
    """Start and end candidates as told, until the other side is gone.

    `START` comes with the candidate's end of its channel; `END` is answered once the candidate and
    everything it started are dead.
    """
    warm_up()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if message != START or not descriptors:
            os._exit(0)
        with _room(isolated=isolated) as room:
            pid = _start(descriptors[0], limits, room)
            os.close(descriptors[0])
            told = control.recv(1)
            _end(pid, isolated=isolated)
        if told != END:
            os._exit(0)
        control.send(END)


@contextlib.contextmanager
def _room(*, isolated: bool) -> Iterator[Path | None]:
    """Make a folder for a candidate that has no view of its own; yield None for the others."""
    if isolated:
        yield None
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)


def _start(descriptor: int, limits: ResourceLimits, room: Path | None) -> int:
    if room is None:
        linux.new_pid_namespace_for_children()
    pid = os.fork()
    if pid:
        return pid
    try:
        live(confine(descriptor, limits) if room is None else bound(descriptor, limits, room))
    finally:
        # Whatever happened: what the candidate registered for the interpreter's end is not run.
        os._exit(0)


def _end(pid: int, *, isolated: bool) -> None:
    if not isolated:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    # First in its process namespace: the kernel ends all others in it, and only then reaps it.
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
