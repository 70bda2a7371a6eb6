"""Worker processes, each the leader of a process group of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO


class WorkerProcess:
    """A worker.

    Args:
        job: file that says what to do.
        log: file for what it prints.
        environment: all of its variables.

    Attributes:
        told: what it tells, line by line.
    """

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
        """Wait for its end and kill what is left of its group."""
        end_group_of(self._process.pid)

    def strike(self) -> None:
        """Kill it and everything it started; whoever waits for its end will know."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill it and everything it started, and wait for its end."""
        self.strike()
        self._process.wait()

    def wait(self) -> int:
        """Wait for its end; return its exit status, or minus the signal that killed it."""
        return self._process.wait()

    def let_go(self) -> None:
        """Close what it holds on to: it ends if it has not yet."""
        self._held.close()


def end_group_of(child: int) -> None:
    """Wait for the end of a child of this process and kill what is left of the group it led."""
    with suppress(ChildProcessError, ProcessLookupError):
        # Not reaped yet, so that its number still names the group.
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        os.killpg(child, signal.SIGKILL)
