"""The live view of a sweep; plain lines where the output is no terminal."""

import time
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

_SHOWN = 4
_PLAIN_EVERY = 10.0


class View:
    """Shows a sweep's state as it changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._told: dict[str, int] = {}
        self._failed = 0
        self._last = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, state: Mapping[str, Any]) -> None:
        """Show a state as `describe` returns it."""
        if self._live:
            self._live.update(as_table(state), refresh=True)
        else:
            self._tell(state)

    def _tell(self, state: Mapping[str, Any]) -> None:
        """Print a line when a kind of step is finished, and now and then between."""
        for failure in state["failed"][self._failed :]:
            self._console.print(
                f"failed: {_what(failure)}", highlight=False, markup=False, soft_wrap=True
            )
        self._failed = len(state["failed"])
        now = time.monotonic()
        done = {kind: row["done"] for kind, row in state["steps"].items()}
        finished = [
            kind
            for kind, row in state["steps"].items()
            if not row["running"] + row["waiting"] and self._told.get(kind) != row["done"]
        ]
        if done != self._told and (finished or now - self._last > _PLAIN_EVERY):
            self._console.print(as_line(state), highlight=False, markup=False, soft_wrap=True)
            self._told, self._last = done, now


def as_line(state: Mapping[str, Any]) -> str:
    """Return a state in one line."""
    parts = [f"{kind} {row['done']}/{sum(row.values())}" for kind, row in state["steps"].items()]
    line = ", ".join(parts) or "nothing to do"
    left = state.get("seconds_left")
    return f"{line}; about {in_words(left)} left" if left else line


def as_table(state: Mapping[str, Any]) -> Group:
    """Return a state for a terminal."""
    table = Table(box=None, pad_edge=False)
    for head in ("step", "done", "running", "left", "failed"):
        table.add_column(head, justify="left" if head == "step" else "right")
    for kind, row in state["steps"].items():
        numbers = (row["done"], row["running"], row["waiting"], row["failed"])
        table.add_row(kind, *(str(number) for number in numbers))
    lines = []
    for job in state["running"][:_SHOWN]:
        part = job["part"]
        share = f", {part[0]} of {part[1]}" if part else ""
        since = in_words(time.time() - job["since"])
        lines.append(f"now: {escape(job['name'])} ({since}{share})")
    lines += [f"[red]failed[/red]: {escape(_what(one))}" for one in state["failed"][-_SHOWN:]]
    left = state.get("seconds_left")
    if left:
        lines.append(f"about {in_words(left)} left")
    return Group(table, *lines)


def _what(failure: Mapping[str, Any]) -> str:
    return f"{failure['kind']} {failure['name']}: {failure['reason']}"


def in_words(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
