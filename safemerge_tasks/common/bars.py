"""tqdm's bars, told to whoever shows progress otherwise, instead of drawn."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from tqdm.std import tqdm

Tell = Callable[[str, int, int | None], None]
"""Takes a bar's name, how far it is and how far it goes."""

JUDGING = "judging"
"""Name of the bars of our own judges."""

OF_VLLM = "Processed prompts"
"""Name of the bar of `vllm.LLM.generate`."""

_listeners: list[Tell] = []


@contextmanager
def told(tell: Tell) -> Iterator[None]:
    """Tell of every bar of this process whenever it would be drawn."""

    def display(bar: tqdm, msg: str | None = None, pos: int | None = None) -> bool:  # noqa: ARG001
        # An empty message wipes a finished bar away.
        if msg is None:
            tell((bar.desc or "").removesuffix(": "), int(bar.n), bar.total)
        return False

    _listeners.append(tell)
    try:
        with patch.object(tqdm, "display", display):
            yield
    finally:
        _listeners.remove(tell)


def silenced() -> AbstractContextManager[None]:
    """Draw no bar of this process."""
    return told(lambda _name, _done, _total: None)


def wanted() -> bool:
    """Return whether anybody sees a bar."""
    return bool(_listeners) or sys.stderr.isatty()
