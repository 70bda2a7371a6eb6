"""A tensor in a file, fetched block by block.

Blocks are read with positioned reads into buffers of our own: a memory map would be simpler, but
its pages count as this process's memory.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from merge.errors import MergeError
from merge.formats.dtypes import ITEM_SIZE, Array, torch_dtype

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class FilePlace:
    """A place in an open file, in bytes from its start."""

    descriptor: int
    offset: int


@dataclass(frozen=True, eq=False)
class StoredTensor(Array):
    """A tensor in a file; two are equal only if they are the same object."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    descriptor: int
    offset: int

    @property
    def kept_dtype(self) -> str:
        """The type that an output keeps where no other is asked for."""
        return self.dtype

    def place(self, start: int) -> FilePlace | None:
        """Return where an element of the flattened tensor lies, if it lies there as it is read."""
        return FilePlace(self.descriptor, self.offset + start * ITEM_SIZE[self.dtype])

    def read_bytes(self, start: int, stop: int, into: memoryview | None = None) -> memoryview:
        """Return the bytes of elements ``start`` to ``stop`` of the flattened tensor.

        Raises:
            MergeError: the file ends early or cannot be read.
        """
        size = ITEM_SIZE[self.dtype]
        length = (stop - start) * size
        buffer = memoryview(bytearray(length)) if into is None else into
        position, done = self.offset + start * size, 0
        while done < length:
            try:
                got = os.preadv(self.descriptor, [buffer[done:]], position + done)
            except OSError as error:
                raise MergeError(
                    f"{self.path}: reading {self.name} failed ({error.strerror}); check the disk."
                ) from error
            if got == 0:
                raise MergeError(
                    f"{self.path} ended while {self.name} was being read: it was changed or "
                    f"truncated meanwhile; restore the file and run again."
                )
            done += got
        return buffer

    def read(self, start: int, stop: int) -> "tuple[torch.Tensor, memoryview]":
        """Return elements ``start`` to ``stop`` in the stored type, flat, and their bytes."""
        import torch

        data = torch.empty(stop - start, dtype=torch_dtype(self.dtype))
        view = data.view(torch.uint8).numpy().data
        return data, self.read_bytes(start, stop, view)
