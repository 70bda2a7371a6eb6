"""Planning without Python's garbage collector.

A plan is a few objects for each tensor, none of them garbage, and the collector would look at all
of them again and again: part of the time of 100,000 tensors, and more where a process has much else
alive.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Collect no garbage for as long as the context lasts, in the whole process."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
