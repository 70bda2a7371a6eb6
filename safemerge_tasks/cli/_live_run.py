"""One display of a run, whose libraries write into a log file instead of on the terminal.

vLLM, transformers and lm-eval say hundreds of lines, from several processes. Nothing that a model
wrote, and they may repeat, reaches the terminal with what would control it.
"""

import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from datetime import datetime
from pathlib import Path
from threading import Event, RLock, Thread
from types import TracebackType
from typing import IO, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from safemerge_tasks.cli._last_words import last_words
from safemerge_tasks.cli._training_progress import LINE_SECONDS
from safemerge_tasks.common.bars import JUDGING, OF_VLLM, told
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness.telling import OURS
from safemerge_tasks.report.printable import printable, printable_lines

_LOOK_SECONDS = 0.5
_BLANK = 100
"""Bytes; what bars that are not drawn leave is a line end each."""
_COUNTED = (JUDGING, OF_VLLM)


class LiveRun(logging.Handler):
    """Shows what is going on, how far it is, and our own warnings; the rest is in the log.

    A bar on a terminal, a line every half minute elsewhere. It is a `harness.telling.Listener`, and
    hears the bars of this process.

    Args:
        folder: where the log is.
        command: whose run it is, for the log's name.
        verbose: show what the log gets.

    Attributes:
        log: the file; it is gone in the end if nothing was printed.
        output: the descriptor that children print to, while this is entered.
    """

    def __init__(self, folder: Path, command: str, *, verbose: bool) -> None:
        super().__init__(logging.WARNING)
        self.log = folder / f"{command}_{datetime.now():%Y-%m-%dT%H-%M-%S}.log"
        self._verbose = verbose
        self._restored = ExitStack()
        self._changing = RLock()
        self._over = Event()
        self._stage, self._done, self._total = "", 0, 0
        self._told = (0, 0)
        self._shown = self._began = time.monotonic()
        self._read = 0

    def __enter__(self) -> Self:
        # Never closed: libraries' own handlers write to it until the interpreter ends.
        try:
            self._file = self.log.open("a", 1, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise SafemergeError(
                f"{self.log} cannot be written ({error.strerror}); make room for what is printed."
            ) from error
        self.output = self._file.fileno()
        self._read = self.log.stat().st_size
        terminal = self._terminal()
        self._console = Console(file=terminal, force_terminal=terminal.isatty())
        self._drawn = self._console.is_terminal and not self._console.is_dumb_terminal
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._drawn,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, count="")
        self._divert()
        self._bar.start()
        self._looking = Thread(target=self._look, daemon=True)
        self._looking.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._looking.join()
        self._bar.stop()
        self._restored.close()
        empty = self.log.stat().st_size < _BLANK and not self.log.read_text("utf-8").strip()
        if empty:
            self.log.unlink()
        if error is not None and not empty:
            if isinstance(error, SafemergeError):
                raise SafemergeError(f"{error} What was printed is in {self.log}.") from error
            self.said(f"what was printed is in {self.log}.")

    def _terminal(self) -> IO[str]:
        """Return standard error as it is now, which stays when descriptor 2 is another file."""
        try:
            real = sys.stderr.fileno() == 2  # a test's is none
        except OSError:
            real = False
        if not real:
            return sys.stderr
        return self._restored.enter_context(
            os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace")
        )

    def _divert(self) -> None:
        """Let all that this process and its children print go into the log."""
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            before = os.dup(descriptor)
            self._restored.callback(os.close, before)
            self._restored.callback(os.dup2, before, descriptor)
            os.dup2(self.output, descriptor)
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                self._restored.callback(handler.setStream, handler.stream)
                handler.setStream(self._file)
        self._restored.enter_context(redirect_stdout(self._file))
        self._restored.enter_context(redirect_stderr(self._file))
        self._restored.enter_context(told(self._bar_told))
        for name in OURS:
            logging.getLogger(name).addHandler(self)
            self._restored.callback(logging.getLogger(name).removeHandler, self)

    def _bar_told(self, name: str, done: int, total: int | None) -> None:
        if name in _COUNTED:
            self.counted(done, total)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one of our own warnings."""
        self.said(record.getMessage())

    def said(self, sentence: str) -> None:
        """Show a sentence."""
        self._print(f"safemerge: {sentence}")

    def stage(self, what: str) -> None:
        """Show what is going on now."""
        with self._changing:
            self._stage, self._done, self._total = what, 0, 0
            self._told = (0, 0)
            self._began = time.monotonic()
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task(printable(what), total=None, count="")
            self._line()

    def counted(self, done: int, total: int | None) -> None:
        """Show how far it is."""
        with self._changing:
            self._done, self._total = done, total or 0
            self._bar.update(self._task, completed=done, total=total, count=self._count())
            if total and done >= total and self._told != (done, total):
                self._told = (done, total)
                self._line()

    def run_lm_eval(self, words: Sequence[str]) -> None:
        """Run lm_eval; if it fails, show the lines of the log that say why.

        Raises:
            SafemergeError: it failed.
        """
        from safemerge_tasks.harness import command_line

        before = self.log.stat().st_size
        try:
            command_line.run_lm_eval(words, self, self.output)
        except SafemergeError:
            with self.log.open("rb") as file:
                file.seek(before)
                said = file.read().decode("utf-8", errors="replace")
            for line in last_words(said):
                self._print(f"  {line}")
            raise

    def _look(self) -> None:
        """Show the log, where that is asked for, and that the run goes on, where nobody sees it."""
        while not self._over.wait(_LOOK_SECONDS):
            self._follow()
            with self._changing:
                if self._stage and time.monotonic() - self._shown > LINE_SECONDS:
                    self._line()
        self._follow()

    def _follow(self) -> None:
        if not self._verbose:
            return
        with self.log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode("utf-8", errors="replace").splitlines():
            self._print(line)

    def _line(self) -> None:
        """Print where the run is, if no bar shows it."""
        self._shown = time.monotonic()
        if not self._drawn:
            since = self._shown - self._began
            parts = (self._stage, self._count(), f"{since:.0f} s" if since >= 1 else "")
            self._print(", ".join(part for part in parts if part))

    def _count(self) -> str:
        if not self._total:
            return f"{self._done:,}" if self._done else ""
        return f"{self._done:,} of {self._total:,}"

    def _print(self, line: str) -> None:
        self._bar.console.print(Text(printable_lines(line)), soft_wrap=True)
