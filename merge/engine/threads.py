"""Threads that share the work on blocks, and sums that do not depend on which of them adds."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")


class OrderedSum:
    """Adds parts in the order of their numbers, whatever order they come in.

    Floating-point sums depend on the order; keeping all parts until the end would need memory that
    grows with the tensor.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, torch.Tensor] = {}
        self._next = 0
        self._sum: torch.Tensor | None = None

    def add(self, number: int, part: "torch.Tensor") -> None:
        """Add one part, or keep it until those before it are there."""
        with self._lock:
            self._waiting[number] = part
            while self._next in self._waiting:
                ready = self._waiting.pop(self._next)
                self._sum = ready if self._sum is None else self._sum.add_(ready)
                self._next += 1

    def value(self) -> "torch.Tensor":
        """Return the sum of all parts."""
        assert self._sum is not None, "a tensor without elements was measured"
        return self._sum


class WholeSum:
    """Adds whole numbers, each thread for itself: their sum is the same in any order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = threading.local()
        self._sums: list[torch.Tensor] = []

    def add(self, number: int, part: "torch.Tensor") -> None:
        """Add one part, whatever its number."""
        del number
        own = getattr(self._own, "sum", None)
        if own is not None:
            own.add_(part)
            return
        assert not part.is_floating_point(), "sums of fractions depend on the order"
        self._own.sum = part
        with self._lock:
            self._sums.append(part)

    def value(self) -> "torch.Tensor":
        """Return the sum of all parts; nothing may be added after it."""
        first, *others = self._sums
        for other in others:
            first.add_(other)
        self._sums = [first]
        return first


class Team:
    """Threads that share one queue of work."""

    def __init__(self, pool: ThreadPoolExecutor, size: int) -> None:
        self._pool = pool
        self._size = size

    def run(self, work: "Callable[[Item], None]", items: "Iterable[Item]") -> None:
        """Do the work on every item; the first error stops all threads and is raised."""
        queue, lock, stop = iter(items), threading.Lock(), threading.Event()

        def take_turns() -> None:
            while not stop.is_set():
                with lock:
                    item = next(queue, None)
                if item is None:
                    return
                try:
                    work(item)
                except BaseException:
                    stop.set()
                    raise

        futures = [self._pool.submit(take_turns) for _ in range(self._size)]
        try:
            for future in futures:
                future.result()
        finally:
            # An interrupt arrives here, in the main thread; the others must not work on.
            stop.set()


class _Alone:
    """How many runs want torch single-threaded, and what it was before the first of them."""

    lock = threading.Lock()
    runs = 0
    before = 1


@contextmanager
def single_threaded_torch() -> Iterator[None]:
    """Our own threads share the cores; torch's, one team per thread, would fight over them.

    Torch has the setting once for a process, so of several runs at a time the first remembers it.
    """
    import torch

    with _Alone.lock:
        if not _Alone.runs:
            _Alone.before = torch.get_num_threads()
            torch.set_num_threads(1)
        _Alone.runs += 1
    try:
        yield
    finally:
        with _Alone.lock:
            _Alone.runs -= 1
            # OpenMP has the setting once more for each thread, so everyone restores it.
            torch.set_num_threads(_Alone.before)
