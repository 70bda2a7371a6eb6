"""A worker: one sandbox, and the tests of the candidates in it, one after the other.

Started by `pool`, through `start_worker`, with an empty environment; messages (`wire`) on standard
input and output. It ends when its input does.

The test expands what a candidate answers, and hears no signal inside of C: so this process's memory
is bounded too, once the sandbox, which has bounds of its own, has been started.
"""

import os
import resource
import select
import socket
import sys
import threading
from functools import partial
from pathlib import Path

from safemerge_tasks.sandbox import entering, wire, zygote
from safemerge_tasks.sandbox.checking import Check, judge
from safemerge_tasks.sandbox.limits import ResourceLimits

_MOST = 1 << 28


def main() -> None:
    """Start the sandbox, say so or why not, and judge what is sent."""
    requests, replies = _private_descriptors()
    settings = wire.receive(requests, _MOST)
    limits = ResourceLimits(**settings["limits"])
    packages, hidden = (list(map(Path, settings[name])) for name in ("packages", "hidden"))
    # At the end: nothing there stands for a module of Python's own.
    sys.path += [str(folder) for folder in packages if str(folder) not in sys.path]
    serve = partial(zygote.serve, limits=limits, isolated=settings["isolated"])
    try:
        if settings["isolated"]:
            control = entering.start(packages, hidden, serve)
        else:
            control = entering.start_without(serve)
    except Exception as error:
        wire.send(replies, {"error": str(error) or type(error).__name__})
        return
    threading.Thread(target=_end_with_caller, args=(requests,), daemon=True).start()
    _bound_memory(limits.memory)
    wire.send(replies, {"ready": True})
    try:
        while True:
            check = Check(**wire.receive(requests, _MOST))
            wire.send(replies, {"result": _judged(check, control, limits)})
    except wire.ClosedError:
        return


def _judged(check: Check, control: socket.socket, limits: ResourceLimits) -> str:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            socket.send_fds(control, [zygote.START], [theirs.fileno()])
        result = judge(check, ours.fileno(), limits).result
    control.send(zygote.END)
    if control.recv(1) != zygote.END:
        raise wire.ClosedError
    return result


def _bound_memory(more: int) -> None:
    """Let this process take so many bytes of address space beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    _, allowed = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        most = min(most, allowed)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _end_with_caller(requests: int) -> None:
    """Wait until nobody can ask any more, and end at once; the sandbox ends with this process."""
    waiting = select.poll()
    waiting.register(requests, 0)  # a hang-up is always reported
    waiting.poll()
    os._exit(0)


def _private_descriptors() -> tuple[int, int]:
    """Move the channel off the standard streams, on which tests print."""
    requests, replies = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return requests, replies
