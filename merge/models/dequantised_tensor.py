"""A quantised matrix in a file, read as the numbers it stands for: (code - zero point)·scale.

Codes lie there as they are, or several to a 32-bit word, the first in the lowest bits and half of
the range added so that none is negative. A scale, and a zero point if there are any, belongs to a
tile of the matrix: a row, a run of columns in a row, a square, or all of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from merge.errors import MergeError
from merge.formats.stored_tensor import FilePlace, StoredTensor

if TYPE_CHECKING:
    import torch

WORD_BITS = 32


@dataclass(frozen=True, eq=False)
class DequantisedTensor(StoredTensor):
    """A matrix in float32, computed from what the file holds whenever a part of it is read.

    What a code and a scale of 16 bits stand for has no more digits than float32.

    Attributes:
        codes: `[rows, columns]`, or `[rows, words]` if they are packed.
        scale: one for each tile, `[rows of tiles, tiles in a row]`.
        tile: how many rows and columns a tile has.
        bits: of a packed code; 0 if codes are not packed.
        zero_point: alike, packed down the rows if the codes are packed; None for zeros.
        model_dtype: what the unquantised model would be stored as.
    """

    codes: StoredTensor
    scale: StoredTensor
    tile: tuple[int, int]
    bits: int = 0
    zero_point: StoredTensor | None = None
    model_dtype: str = "BF16"

    def __post_init__(self) -> None:
        """Check that it is read as the matrix it is: a part of it is no stored tensor."""
        if self.offset or self.shape[0] != self.codes.shape[0]:
            raise MergeError(
                f"{self.path}: {self.name} is quantised and holds several tensors of the base, "
                f"which cannot be taken apart; give the unquantised model."
            )

    @property
    def kept_dtype(self) -> str:
        """The type that an output keeps."""
        return self.model_dtype

    def place(self, start: int) -> FilePlace | None:
        """Return None: what is read lies in no file."""
        del start
        return None

    def read_bytes(self, start: int, stop: int, into: memoryview | None = None) -> memoryview:
        """Return the bytes of elements ``start`` to ``stop`` in float32."""
        data = self.read(start, stop)[1]
        if into is None:
            return data
        into[:] = data
        return into

    def read(self, start: int, stop: int) -> "tuple[torch.Tensor, memoryview]":
        """Return elements ``start`` to ``stop`` in float32, flat, and their bytes."""
        import torch

        columns = self.shape[1]
        first, last = start // columns, max(start // columns, -(-stop // columns))
        values = self._codes(first, last)
        if self.zero_point is not None:
            values -= self._spread(self._zero_points(self.zero_point, first, last), first, last)
        values *= self._spread(self._of_tiles(self.scale, first, last), first, last)
        flat = values.reshape(-1)[start - first * columns : stop - first * columns]
        return flat, flat.view(torch.uint8).numpy().data

    def _codes(self, first: int, last: int) -> "torch.Tensor":
        """Return some rows' codes, `[rows, columns]` in float32."""
        import torch

        width = self.codes.shape[1]
        words = self.codes.read(first * width, last * width)[0].reshape(-1, width)
        if not self.bits:
            return words.to(torch.float32)
        return self._unpacked(words)[:, : self.shape[1]]

    def _unpacked(self, words: "torch.Tensor") -> "torch.Tensor":
        """Return the codes in rows of words, `[rows, words·codes in a word]` in float32."""
        import torch

        shifts = torch.arange(WORD_BITS // self.bits, dtype=torch.int32) * self.bits
        codes = (words.unsqueeze(-1) >> shifts) & ((1 << self.bits) - 1)
        return codes.flatten(1).to(torch.float32).sub_(1 << (self.bits - 1))

    def _of_tiles(self, stored: StoredTensor, first: int, last: int) -> "torch.Tensor":
        """Return what belongs to the tiles that some rows meet, `[rows of tiles, tiles]`."""
        import torch

        height, width = self.tile[0], -(-self.shape[1] // self.tile[1])
        low, high = first // height, -(-last // height)
        return stored.read(low * width, high * width)[0].reshape(-1, width).to(torch.float32)

    def _zero_points(self, stored: StoredTensor, first: int, last: int) -> "torch.Tensor":
        """Return the zero points of the tiles that some rows meet."""
        if not self.bits or stored.dtype != self.codes.dtype:
            return self._of_tiles(stored, first, last)
        each, height, width = WORD_BITS // self.bits, self.tile[0], stored.shape[1]
        low, high = first // height, -(-last // height)
        begin = low // each
        words = stored.read(begin * width, -(-high // each) * width)[0].reshape(-1, width)
        return self._unpacked(words.T).T[low - begin * each : high - begin * each]

    def _spread(self, of_tiles: "torch.Tensor", first: int, last: int) -> "torch.Tensor":
        """Return a tile's value for each element of some rows, or each row if tiles are rows."""
        import torch

        rows = torch.arange(first, last) // self.tile[0] - first // self.tile[0]
        of_rows = of_tiles[rows]
        if of_rows.shape[1] == 1:
            return of_rows
        return of_rows[:, torch.arange(self.shape[1]) // self.tile[1]]
