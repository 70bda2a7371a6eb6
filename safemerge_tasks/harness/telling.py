"""What lm_eval's process tells the one that started it: how far it is, and what went wrong.

One JSON list a line, on a descriptor of its own: what libraries print is no protocol.
"""

import json
import logging
import os
from typing import Protocol

from safemerge_tasks.common.bars import OF_VLLM

OURS = ("safemerge_tasks", "merge")
"""The loggers whose warnings a user has to know."""


class Listener(Protocol):
    """Who shows it. All text may be hostile."""

    def stage(self, what: str) -> None:
        """Show what is going on now."""
        ...

    def counted(self, done: int, total: int | None) -> None:
        """Show how far it is."""
        ...

    def said(self, sentence: str) -> None:
        """Show a warning or an error."""
        ...


class Teller(logging.Handler):
    """Tells of bars, of our own warnings, and of everybody's errors.

    Args:
        descriptor: where to.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(logging.WARNING)
        os.set_inheritable(descriptor, False)
        self._file = os.fdopen(descriptor, "w")
        self._stage = ""
        self._finished = 0
        self._shown = 0
        self._total: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of a record that a user has to know."""
        ours = record.name.partition(".")[0] in OURS
        if ours or record.levelno >= logging.ERROR:
            self.tell("said", record.getMessage() if ours else f"lm_eval: {record.getMessage()}")

    def tell(self, *what: object) -> None:
        """Write one line."""
        assert self.lock
        with self.lock:
            print(json.dumps(what), file=self._file, flush=True)

    def bar(self, name: str, done: int, total: int | None) -> None:
        """Tell of one of lm-eval's bars; those that count no answers are left out.

        lm-eval's counts answers of finished batches, vLLM's those of the batch it has been handed.
        """
        if name == OF_VLLM:
            self._count(self._finished + done, self._total or total)
            return
        if name.startswith("Running ") or name == "Requesting API":
            answers = name == "Requesting API" or "generate" in name
            what = "generating" if answers else name.lower()
        elif name == "checks":
            what = "running programs"
        else:
            return
        if not done or what != self._stage:
            self._shown = 0
            self._stage = what
            self.tell("stage", what)
        self._finished, self._total = done, total
        self._count(done, total)

    def _count(self, done: int, total: int | None) -> None:
        # A batch that is finished is counted again from its start.
        self._shown = max(self._shown, done)
        self.tell("counted", self._shown, total)


def hear(descriptor: int, listener: Listener) -> None:
    """Pass on what a `Teller` tells, until it has ended."""
    with os.fdopen(descriptor) as lines:
        for line in lines:
            kind, *what = json.loads(line)
            if kind == "stage":
                listener.stage(*what)
            elif kind == "counted":
                listener.counted(*what)
            else:
                listener.said(*what)
