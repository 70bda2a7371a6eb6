"""Asking for blocks before their turn, so that a slow disk always has several to fetch.

Threads read one block each and wait for it: two requests at a time, which a disk behind a network
answers no faster than one after the other. The kernel fetches in the background what it is told
will be needed, and keeps it in its own cache, which is not this process's memory.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from merge.formats.dtypes import ITEM_SIZE
from merge.formats.stored_tensor import FilePlace, StoredTensor

# Of bfloat16, 8 MB of each input: of two, what a disk of 1.6 GB/s sends in 10 ms.
BLOCKS_AHEAD = 16

Item = TypeVar("Item")


def ahead(items: Iterable[Item], ask: Callable[[Item], None]) -> Iterator[Item]:
    """Yield items, each some time after it was asked for."""
    waiting: deque[Item] = deque()
    for item in items:
        ask(item)
        waiting.append(item)
        if len(waiting) > BLOCKS_AHEAD:
            yield waiting.popleft()
    yield from waiting


def will_need(tensors: Iterable[StoredTensor], start: int, stop: int) -> None:
    """Tell the kernel that elements ``start`` to ``stop`` of some tensors are read soon."""
    if not hasattr(os, "posix_fadvise"):
        return
    for tensor in tensors:
        place = tensor.place(start)
        length = (min(stop, tensor.elements) - start) * ITEM_SIZE[tensor.dtype]
        if place is not None and length > 0 and not _is_there(place, length):
            os.posix_fadvise(place.descriptor, place.offset, length, os.POSIX_FADV_WILLNEED)


def _is_there(place: FilePlace, length: int) -> bool:
    """Return whether the last byte needs no disk; asking costs a seventh of what the advice does.

    Where the system cannot say, it counts as not there.
    """
    try:
        last = place.offset + length - 1
        return os.preadv(place.descriptor, [bytearray(1)], last, os.RWF_NOWAIT) == 1
    except (AttributeError, OSError):
        return False
