"""What an adapter adds to a tensor, computed for the elements that are asked for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass
class LowRank:
    """The update `scale·left·right` of one weight, held as its factors in float32.

    ``left`` is `[rows, r]` and ``right`` `[r, columns]`, in the orientation of the stored weight.
    """

    left: "torch.Tensor"
    right: "torch.Tensor"
    scale: float

    def read(self, start: int, stop: int) -> "torch.Tensor":
        """Return elements ``start`` to ``stop`` of the flattened update, in float32."""
        columns = self.right.shape[1]
        first, last = start // columns, -(-stop // columns)
        rows = (self.left[first:last] * self.scale) @ self.right
        return rows.reshape(-1)[start - first * columns : stop - first * columns]


@dataclass
class DenseUpdate:
    """An update held in full, such as a bias's."""

    values: "torch.Tensor"

    def read(self, start: int, stop: int) -> "torch.Tensor":
        """Return elements ``start`` to ``stop`` of the flattened update, in float32."""
        return self.values.reshape(-1)[start:stop]


@dataclass
class RowUpdate:
    """An update of a few rows of an embedding; `rows` is `[len(indices), columns]`, float32."""

    indices: list[int]
    rows: "torch.Tensor"

    def read(self, start: int, stop: int) -> "torch.Tensor":
        """Return elements ``start`` to ``stop`` of the flattened update, in float32."""
        columns = self.rows.shape[1]
        first, last = start // columns, -(-stop // columns)
        values = self.rows.new_zeros((last - first, columns))
        for index, row in zip(self.indices, self.rows, strict=True):
            if first <= index < last:
                values[index - first] = row
        return values.reshape(-1)[start - first * columns : stop - first * columns]


Update = LowRank | DenseUpdate | RowUpdate
