"""Worker processes, started from nothing or forked from one that has its libraries loaded already.

vLLM and lm-eval take ten seconds to import, which three jobs in a row and two beside each other
would each spend again. A fork server of Python's `multiprocessing` imports them once, while the
sweep is still being prepared.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection, forkserver, resource_tracker
from pathlib import Path
from typing import IO, Any, Protocol

_SILENCE = "safemerge_tasks.sweep.silence"
_UNREACHABLE = (EOFError, ConnectionError, FileNotFoundError)


class WorkerProcess(Protocol):
    """A worker, the leader of a process group of its own."""

    told: IO[str]
    """What it tells, line by line."""

    def end_group(self) -> None:
        """Wait for its end and kill what is left of its group."""
        ...

    def kill(self) -> None:
        """Kill it and everything it started."""
        ...

    def wait(self) -> int:
        """Wait for its end; return its exit status, or minus the signal that killed it."""
        ...

    def let_go(self) -> None:
        """Close what it holds on to: it ends if it has not yet."""
        ...


def start_cold(job: Path, log: Path, environment: Mapping[str, str]) -> WorkerProcess:
    """Start a worker from nothing.

    Args:
        job: file that says what to do.
        log: file for what it prints.
        environment: all of its variables.
    """
    return _Cold(job, log, environment)


def end_group_of(child: int) -> None:
    """Wait for the end of a child of this process and kill what is left of the group it led."""
    with suppress(ChildProcessError, ProcessLookupError):
        # Not reaped yet, so that its number still names the group.
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        os.killpg(child, signal.SIGKILL)


class WarmStart:
    """Starts workers that have modules imported already.

    They are forked, which a process that uses a GPU does not survive; where there are GPUs, and
    engines that take minutes to start, leave this alone.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        """Begin to import modules, in the background; those that cannot be are left out."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_SILENCE, *modules])
        # Two threads that ask at once for a process's status would get one.
        self._asking = threading.Lock()
        forkserver.ensure_running()

    def start(self, job: Path, log: Path, environment: Mapping[str, str]) -> WorkerProcess:
        """Start a worker, as `start_cold`; from nothing if the server died over its imports."""
        try:
            return _Warm(self._context, self._asking, job, log, environment)
        except _UNREACHABLE:
            return start_cold(job, log, environment)


class _Cold:
    def __init__(self, job: Path, log: Path, environment: Mapping[str, str]) -> None:
        with log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "safemerge_tasks.sweep.worker", str(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env=dict(environment),
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.told: IO[str] = self._process.stdout
        self._held = self._process.stdin

    def end_group(self) -> None:
        end_group_of(self._process.pid)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def wait(self) -> int:
        return self._process.wait()

    def let_go(self) -> None:
        self._held.close()


class _Warm:
    def __init__(
        self,
        context: Any,
        asking: threading.Lock,
        job: Path,
        log: Path,
        environment: Mapping[str, str],
    ) -> None:
        stdin, self._held = context.Pipe(duplex=False)
        told, stdout = context.Pipe(duplex=False)
        self._asking = asking
        with stdin, stdout:
            self._process = context.Process(
                target=_run_forked, args=(job, log, dict(environment), stdin, stdout)
            )
            with asking:
                self._process.start()
        self.told: IO[str] = os.fdopen(os.dup(told.fileno()), encoding="utf-8")
        told.close()

    def end_group(self) -> None:
        connection.wait([self._process.sentinel])
        self._kill_group()

    def kill(self) -> None:
        self._kill_group()
        # It may not lead a group yet.
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        connection.wait([self._process.sentinel])
        with self._asking:
            self._process.join()
        status: int = self._process.exitcode
        return status

    def let_go(self) -> None:
        self._held.close()

    def _kill_group(self) -> None:
        # The fork server reaps it at once; its group keeps the number while anyone is left.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _run_forked(
    job: Path,
    log: Path,
    environment: Mapping[str, str],
    stdin: connection.Connection,
    stdout: connection.Connection,
) -> None:
    """Become a worker."""
    os.setsid()
    with log.open("w", encoding="utf-8") as output:
        for number, file in enumerate((stdin.fileno(), stdout.fileno(), output.fileno())):
            os.dup2(file, number)
    stdin.close()
    stdout.close()
    os.environ.update(environment)
    # Semaphores that a killed or hurried worker leaves behind are told in its log, by a tracker of
    # its own; the one it shares with the sweep would tell the user.
    vars(resource_tracker._resource_tracker).update(_fd=None, _pid=None)
    if "torch" in sys.modules:
        # OpenMP has read the server's environment.
        sys.modules["torch"].set_num_threads(int(environment["OMP_NUM_THREADS"].split(",")[0]))
    from safemerge_tasks.sweep.worker import run_and_exit

    run_and_exit(job)
