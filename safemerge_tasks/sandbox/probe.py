"""A try at getting out, made in a real sandbox before it is trusted with anything."""

import os
import platform
import sys
from dataclasses import replace
from typing import Any

from safemerge_tasks.sandbox.checking import Check
from safemerge_tasks.sandbox.pool import (
    Sandbox,
    SandboxSettings,
    SandboxUnavailableError,
    WorkerNotStartedError,
)

_PROMPT = 'def breaches(files):\n    """Return what worked."""\n'
_COMPLETION = """
    import os, socket, tempfile

    def attempt(what, action):
        try:
            action()
        except OSError:
            return
        found.append(what)

    def write(path):
        with open(path, "w") as file:
            file.write("x")

    def fork():
        if os.fork() == 0:
            os._exit(0)

    def fill():
        with open("big", "wb") as file:
            for _ in range(1024):
                file.write(bytes(1 << 20))

    found = []
    for path in files:
        attempt("read " + path, lambda: open(path).close())
    for path in ("/breach", "/usr/breach", "/usr/lib/breach", os.__file__ + ".breach"):
        attempt("write " + path, lambda: write(path))
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        attempt("socket", lambda: socket.socket(family))
    attempt("fork", fork)
    attempt("fill the disk", fill)
    attempt("see processes", lambda: os.listdir("/proc"))
    attempt("signal", lambda: os.kill(os.getppid(), 0))
    try:
        bytearray(1 << 34)
        found.append("take 16 GiB")
    except MemoryError:
        pass
    write(os.path.join(tempfile.gettempdir(), "own"))
    return found
"""
_TEST = """
def check(candidate):
    found = candidate({files!r})
    assert found == [], ", ".join(map(str, found))
"""


def check_isolation(settings: SandboxSettings) -> dict[str, Any]:
    """Start one sandbox, try to break out of it, and describe it for the results.

    Raises:
        SandboxUnavailableError: it cannot be made here, or something got out.
    """
    outside = ["/etc/passwd", "/etc/hostname", "/proc/self/environ", sys.executable]
    outside += [str(file) for folder in settings.hidden for file in folder.glob("*.py")]
    check = Check(_PROMPT, _COMPLETION, _TEST.format(files=outside), "breaches")
    settings = replace(settings, workers=1)
    try:
        with Sandbox(settings) as sandbox:
            (outcome,) = sandbox.run([check])
    except WorkerNotStartedError:
        raise
    except SandboxUnavailableError as error:
        if not settings.isolated:
            raise SandboxUnavailableError(f"Model-written code cannot be run: {error}.") from error
        raise SandboxUnavailableError(_refusal(f"none can be made here ({error})")) from error
    if settings.isolated and not outcome.passed:
        raise SandboxUnavailableError(_refusal(f"the one made here leaks ({outcome.result})"))
    return describe(settings)


def describe(settings: SandboxSettings) -> dict[str, Any]:
    """Return what a reader of results has to know of the sandbox."""
    return {
        "isolation": "namespaces, seccomp" if settings.isolated else "none",
        "limits": settings.limits.as_fields(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "as_root": os.geteuid() == 0,
    }


def _refusal(why: str) -> str:
    return (
        f"Model-written code runs only in a sandbox, and {why}; use a Linux machine with user "
        "namespaces, or accept the risk with --metadata sandbox=none."
    )
