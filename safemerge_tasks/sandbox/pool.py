"""Many checks on several workers, each with a sandbox of its own."""

import os
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sandbox import wire
from safemerge_tasks.sandbox.checking import TIMED_OUT, Check, CheckResult
from safemerge_tasks.sandbox.limits import ResourceLimits
from safemerge_tasks.sandbox.view import ROOM

_WORKER = [str(Path(__file__).with_name("start_worker.py"))]
_START_SECONDS = 60.0
_GRACE_SECONDS = 2.0
"""Beyond the check's own time, which the worker keeps, before the worker counts as stuck: enough to
end a candidate that has used all it may."""
_MOST = 1 << 20
_INHERITED = ("LD_LIBRARY_PATH",)
_ENVIRONMENT = {
    "HOME": str(ROOM),
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}


class SandboxUnavailableError(SafemergeError):
    """This machine or user cannot isolate model-written code."""


class WorkerNotStartedError(SandboxUnavailableError):
    """Python itself did not start, which isolating less does not mend."""


@dataclass(frozen=True)
class SandboxSettings:
    """How candidates run.

    Attributes:
        limits: bounds on each candidate.
        isolated: in namespaces; False only bounds them (`sandbox=none`).
        hidden: folders of the system that candidates see empty, such as the one with the answers.
        workers: candidates that run at the same time; None is one a processor.
    """

    limits: ResourceLimits = field(default_factory=ResourceLimits)
    isolated: bool = True
    hidden: tuple[Path, ...] = ()
    workers: int | None = None

    @property
    def count(self) -> int:
        """The number of workers."""
        return self.workers or len(os.sched_getaffinity(0))


class Sandbox:
    """Judges candidates; a context manager that leaves no process behind."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        self._all: list[_Worker] = []

    def __enter__(self) -> Self:
        """Start every worker.

        Raises:
            SandboxUnavailableError: a sandbox cannot be made here; the message says why.
        """
        try:
            for _ in range(self.settings.count):
                self._all.append(_Worker(self.settings))
            for worker in self._all:
                worker.wait_until_ready()
                self._free.put(worker)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every worker, and with it whatever runs in its sandbox."""
        self.close()

    def close(self) -> None:
        """End every worker."""
        for worker in self._all:
            worker.end()

    def run(
        self, checks: Sequence[Check], on_done: Callable[[], object] | None = None
    ) -> list[CheckResult]:
        """Judge candidates, in the order given.

        Args:
            checks: candidates with their tests.
            on_done: called after each, from several threads but never from two at once.
        """
        lock = threading.Lock()

        def one(check: Check) -> CheckResult:
            worker = self._free.get()
            try:
                outcome = worker.judge(check)
            finally:
                self._free.put(worker)
            if on_done:
                with lock:
                    on_done()
            return outcome

        executor = ThreadPoolExecutor(self.settings.count)
        try:
            return list(executor.map(one, checks))
        finally:
            executor.shutdown(cancel_futures=True)


class _Worker:
    """A worker's process; started again when it is stuck or gone."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until the worker is ended for good
        self._process = self._start()

    def judge(self, check: Check) -> CheckResult:
        """Judge one candidate; a worker that breaks twice on it fails it."""
        for _ in range(2):
            try:
                reply = self._ask(check.as_fields())
                return CheckResult(reply["result"])
            except TimeoutError:
                self._restart()
                return CheckResult(TIMED_OUT)
            except (wire.ClosedError, ValueError):
                self._restart()
        return CheckResult.failed("the sandbox ended while it ran")

    def wait_until_ready(self) -> None:
        """Wait for the worker's sandbox.

        Raises:
            WorkerNotStartedError: there is no worker.
            SandboxUnavailableError: it cannot be made.
        """
        try:
            reply = self._reply(_START_SECONDS)
        except (wire.ClosedError, TimeoutError) as error:
            raise WorkerNotStartedError(
                f"Model-written code cannot be run: the worker of the sandbox, {sys.executable} "
                f"{' '.join(_WORKER)}, did not start ({self._last_words()})."
            ) from error
        if "error" in reply:
            raise SandboxUnavailableError(str(reply["error"]))

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        return next(filter(None, map(str.strip, reversed(lines))), "it said nothing")

    def end(self) -> None:
        """End the worker for good, at once; its sandbox dies with it."""
        self._kill()
        self._said.close()

    def _kill(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-I", *_WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            bufsize=0,
            cwd="/",
            env={**_ENVIRONMENT, **inherited},
            # An interrupt at the terminal is for the caller, who then ends this.
            start_new_session=True,
        )
        settings = self._settings
        assert process.stdin
        wire.send(
            process.stdin.fileno(),
            {
                "limits": settings.limits.as_fields(),
                "isolated": settings.isolated,
                "packages": [str(path) for path in _package_folders()],
                "hidden": [str(path) for path in settings.hidden],
            },
        )
        return process

    def _restart(self) -> None:
        self._kill()
        self._process = self._start()
        self.wait_until_ready()

    def _ask(self, message: Any) -> Any:
        assert self._process.stdin
        wire.send(self._process.stdin.fileno(), message)
        return self._reply(self._settings.limits.seconds + _GRACE_SECONDS)

    def _reply(self, seconds: float) -> Any:
        assert self._process.stdout
        waiting = select.poll()
        waiting.register(self._process.stdout, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            raise TimeoutError
        return wire.receive(self._process.stdout.fileno(), _MOST)


def _package_folders() -> list[Path]:
    """Return where this process finds installed packages: also a user's own, or on PYTHONPATH.

    Other folders that it imports from, such as a checkout, are nothing for candidates to see.
    """
    found = dict.fromkeys(Path(entry).resolve() for entry in sys.path if entry)
    return [path for path in found if path.is_dir() and any(path.glob("*.dist-info"))]
