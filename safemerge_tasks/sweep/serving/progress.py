"""Progress of vLLM's batches, told to a callback."""

import time
from collections.abc import Iterable
from typing import Any

from safemerge_tasks.sweep.serving.asked import OnAnswered


class Counter:
    """Counts answered requests over several calls of the engine.

    A variant's loglikelihoods of long texts take several prompts a request, so what is told never
    passes the total.
    """

    def __init__(self, tell: OnAnswered | None, total: int) -> None:
        self._tell = tell
        self._total = total
        self._answered = 0

    def add(self, number: int) -> None:
        """Note requests as answered."""
        self._answered += number
        if self._tell is not None:
            self._tell(min(self._answered, self._total), self._total)

    def bar(self, prompts: Iterable[Any] | None = None, **_: Any) -> Any:
        """Return what vLLM takes for a progress bar; prompts, which it only reads, come back."""
        return _Bar(self) if prompts is None else prompts


class _Bar:
    """The part of tqdm that vLLM uses."""

    postfix = ""

    def __init__(self, counter: Counter) -> None:
        self.n = 0
        self._counter = counter
        self._start = time.monotonic()

    @property
    def format_dict(self) -> dict[str, float]:
        """Seconds so far; never zero, because vLLM divides by it."""
        return {"elapsed": max(time.monotonic() - self._start, 1e-6)}

    def update(self, number: int) -> None:
        """Note finished requests."""
        self.n += number
        self._counter.add(number)

    def refresh(self) -> None:
        """Draw nothing."""

    def close(self) -> None:
        """End nothing."""
