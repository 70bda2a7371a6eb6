"""How a fine-tuning's progress is told: a bar on a terminal, now and then a line elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_SECONDS = 30.0
"""At least so long between two lines, so that a log of a day stays readable."""


class TrainingProgress:
    """Called with finished steps and all of them, while it is entered.

    Args:
        what: is trained.
        quiet: tell nothing.
        console: else standard error.
    """

    def __init__(self, what: str, *, quiet: bool, console: Console | None = None) -> None:
        self._what = what
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=None)
        self._lines = not quiet and not self._console.is_terminal
        # Of the first call and the last line; a resumed run begins in the middle.
        self._first: tuple[float, int] | None = None
        self._told = float("-inf")

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, done: int, steps: int) -> None:
        """Note that `done` of `steps` steps are finished."""
        self._bar.update(self._task, completed=done, total=steps)
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        if self._lines and (now - self._told >= LINE_SECONDS or done == steps):
            self._told = now
            self._console.print(
                f"{self._what}: step {done:,} of {steps:,}{self._estimate(now, done, steps)}",
                highlight=False,
                soft_wrap=True,
            )

    def _estimate(self, now: float, done: int, steps: int) -> str:
        assert self._first is not None
        began, first = self._first
        if done in (first, steps):
            return ""
        each = (now - began) / (done - first)
        left = each * (steps - done)
        return f", {each:.1f} s a step, about {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
