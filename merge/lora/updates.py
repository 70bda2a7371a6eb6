"""What an adapter adds to a tensor, computed for the elements that are asked for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from merge.formats.checksums import BLOCK_ELEMENTS
from merge.formats.dtypes import work_dtype
from merge.formats.stored_tensor import StoredTensor

if TYPE_CHECKING:
    import torch


@dataclass
class LowRank:
    """The update `scale·left·right` of one weight, held as its factors.

    ``left`` is `[rows, r]` and ``right`` `[r, columns]`, in the orientation of the stored weight,
    and ``turned`` says that this is `[in, out]`.
    """

    left: "torch.Tensor"
    right: "torch.Tensor"
    scale: float
    turned: bool = False

    def read(self, start: int, stop: int) -> "torch.Tensor":
        """Return elements ``start`` to ``stop`` of the flattened update."""
        columns = self.right.shape[1]
        first, last = start // columns, -(-stop // columns)
        rows = (self.left[first:last] * self.scale) @ self.right
        return rows.reshape(-1)[start - first * columns : stop - first * columns]


@dataclass
class Stacked:
    """The updates of tensors of one shape that are stored as one, in the order they lie there."""

    parts: list[LowRank]

    def read(self, start: int, stop: int) -> "torch.Tensor":
        """Return elements ``start`` to ``stop`` of the flattened update."""
        import torch

        size = self.parts[0].left.shape[0] * self.parts[0].right.shape[1]
        first, last = start // size, -(-stop // size)
        return torch.cat(
            [
                self.parts[number].read(
                    max(start - number * size, 0), min(stop - number * size, size)
                )
                for number in range(first, last)
            ]
        )


class Dora:
    """The update of one weight by DoRA, `(m/‖W + s·B·A‖ - 1)·W + m/‖W + s·B·A‖·s·B·A`.

    Liu et al. 2024 (2402.09353): m is the length of each of the result's rows. The base's rows are
    read block by block, once for their lengths and once more for the update.
    """

    def __init__(self, low_rank: LowRank, magnitudes: "torch.Tensor", base: StoredTensor) -> None:
        self._low_rank = low_rank
        self._base = base
        self._factors = magnitudes.double() / self._lengths()

    def _lengths(self) -> "torch.Tensor":
        """Return `‖W + s·B·A‖` of every row, in float64."""
        import torch

        rows, columns = self._base.shape
        step = max(1, BLOCK_ELEMENTS // columns)
        parts = []
        for first in range(0, rows, step):
            start, stop = first * columns, min(first + step, rows) * columns
            moved = self._base.read(start, stop)[0].to(work_dtype(self._base.dtype))
            moved = moved + self._low_rank.read(start, stop)
            parts.append(moved.reshape(-1, columns).double().norm(dim=1))
        return torch.cat(parts)

    def read(self, start: int, stop: int) -> "torch.Tensor":
        """Return elements ``start`` to ``stop`` of the flattened update."""
        import torch

        columns = self._base.shape[1]
        rows = torch.arange(start, stop) // columns
        factors = self._factors[rows]
        base = self._base.read(start, stop)[0].double()
        update = self._low_rank.read(start, stop).double()
        return ((factors - 1.0) * base + factors * update).to(work_dtype(self._base.dtype))


@dataclass
class DenseUpdate:
    """An update held in full, such as a bias's."""

    values: "torch.Tensor"

    def read(self, start: int, stop: int) -> "torch.Tensor":
        """Return elements ``start`` to ``stop`` of the flattened update."""
        return self.values.reshape(-1)[start:stop]


@dataclass
class RowUpdate:
    """An update of a few rows of an embedding; `rows` is `[len(indices), columns]`."""

    indices: list[int]
    rows: "torch.Tensor"

    def read(self, start: int, stop: int) -> "torch.Tensor":
        """Return elements ``start`` to ``stop`` of the flattened update."""
        columns = self.rows.shape[1]
        first, last = start // columns, -(-stop // columns)
        values = self.rows.new_zeros((last - first, columns))
        for index, row in zip(self.indices, self.rows, strict=True):
            if first <= index < last:
                values[index - first] = row
        return values.reshape(-1)[start - first * columns : stop - first * columns]


Update = LowRank | Stacked | Dora | DenseUpdate | RowUpdate
