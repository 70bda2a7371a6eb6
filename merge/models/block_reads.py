"""A block, which is a run of elements of the flattened tensor, read once from every input.

It is read when it is first asked for and kept until the block is done, by however many merges that
are computed together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from merge.errors import MergeError
from merge.formats.checksums import block_ranges
from merge.formats.dtypes import ITEM_SIZE
from merge.formats.finite_values import all_finite, first_nonfinite
from merge.formats.stored_tensor import StoredTensor
from merge.models.input_tensors import Identity, InputTensor

if TYPE_CHECKING:
    import torch

# Told about the bytes of every block that is read (the tensor, the first element, the bytes), and
# returns their digest.
Observer = Callable[[StoredTensor, int, memoryview], bytes]


@dataclass(frozen=True)
class RawBlock:
    """Elements as they are stored: as a tensor, as its bytes, and the digests of these."""

    values: "torch.Tensor"
    data: memoryview
    digests: Sequence[bytes]


class Reads:
    """Elements ``start`` to ``stop`` of stored tensors, flat and in one type, each read once.

    Every merge that is computed in one pass takes its block's inputs from here. What is read is
    observed in pieces of ``block_elements``. NaN and infinity are refused as they are read or,
    where they are sure to show in the result, by `check`.
    """

    def __init__(
        self,
        start: int,
        stop: int,
        dtype: "torch.dtype",
        *,
        observe: Observer,
        block_elements: int,
        device: str = "cpu",
        allow_nonfinite: bool = False,
        check_later: bool = False,
    ) -> None:
        self.start = start
        self.stop = stop
        self.check_later = check_later and not allow_nonfinite
        self._dtype = dtype
        self._observe = observe
        self._block = block_elements
        self._device = device
        self._allow_nonfinite = allow_nonfinite
        self._raw: dict[StoredTensor, RawBlock] = {}
        self._stored: dict[StoredTensor, torch.Tensor] = {}
        self._weights: dict[Identity, torch.Tensor] = {}
        self._updates: dict[Identity, torch.Tensor] = {}
        self._differences: dict[tuple[Identity, Identity], torch.Tensor] = {}

    def weight(self, operand: InputTensor) -> "torch.Tensor":
        """Return an input's weights."""
        stored = self._extended(operand)
        if operand.adapter is None:
            return stored
        key = operand.identity
        if key not in self._weights:
            self._weights[key] = stored + self._update(operand)
        return self._weights[key]

    def at_hand(self, operand: InputTensor) -> "torch.Tensor | None":
        """Return an input's weights if what they are made of has been read, and else None."""
        parts = {operand.stored, operand.filler or operand.stored}
        return self.weight(operand) if parts <= self._stored.keys() else None

    def difference(self, left: InputTensor, right: InputTensor) -> "torch.Tensor":
        """Return one input's weights minus another's."""
        key = left.identity, right.identity
        if key not in self._differences:
            self._differences[key] = self._subtracted(left, right)
        return self._differences[key]

    def raw(self, stored: StoredTensor) -> RawBlock:
        """Return the block's stored elements as they are, as far as the tensor goes."""
        if stored in self._raw:
            return self._raw[stored]
        first, last = min(self.start, stored.elements), min(self.stop, stored.elements)
        values, data = stored.read(first, last)
        found = RawBlock(values, data, self._observed(stored, first, data))
        if last - first <= self._block:
            # Of whole tensors only the numbers stay in memory.
            self._raw[stored] = found
        return found

    def check(self) -> None:
        """Check that what was read of the inputs is finite.

        Raises:
            MergeError: it is not.
        """
        for stored, values in self._stored.items():
            self.check_finite(stored, values)

    def check_finite(self, stored: StoredTensor, values: "torch.Tensor") -> None:
        """Check that a stored tensor's elements are finite, in whatever type they are.

        Raises:
            MergeError: they are not.
        """
        if not self._allow_nonfinite and not all_finite(values):
            raise MergeError(
                f"{stored.path}: tensor {stored.name} holds NaN or infinity near element "
                f"{self.start + first_nonfinite(values)}; use another copy of the model, or "
                f"--allow-nonfinite to merge it all the same."
            )

    def _observed(self, stored: StoredTensor, first: int, data: memoryview) -> list[bytes]:
        size = ITEM_SIZE[stored.dtype]
        return [
            self._observe(stored, first + start, data[start * size : stop * size])
            for start, stop in block_ranges(len(data) // size, self._block)
        ]

    def _subtracted(self, left: InputTensor, right: InputTensor) -> "torch.Tensor":
        """Subtract; adapters on one stored tensor differ by their updates, without its rounding."""
        if left.stored is not right.stored or left.filler is not right.filler:
            return self.weight(left) - self.weight(right)
        if left.adapter is None and right.adapter is None:
            return self._read(left.stored).new_zeros(self.stop - self.start)
        if right.adapter is None:
            return self._update(left)
        if left.adapter is None:
            return -self._update(right)
        return self._update(left) - self._update(right)

    def _extended(self, operand: InputTensor) -> "torch.Tensor":
        """Return the stored elements, and the filler's or zeros where the output has more rows."""
        import torch

        stored = self._read(operand.stored)
        missing = self.stop - self.start - len(stored)
        if not missing:
            return stored
        if operand.filler is None:
            return torch.cat([stored, stored.new_zeros(missing)])
        return torch.cat([stored, self._read(operand.filler)[len(stored) :]])

    def _update(self, operand: InputTensor) -> "torch.Tensor":
        key = operand.identity
        if key not in self._updates:
            self._updates[key] = self._read_update(operand).to(self._device, self._dtype)
        return self._updates[key]

    def _read_update(self, operand: InputTensor) -> "torch.Tensor":
        """Return the adapter's part, zero where the output has more rows than it."""
        import torch

        assert operand.update is not None
        first, last = (min(end, operand.stored.elements) for end in (self.start, self.stop))
        if first == last:
            return torch.zeros(self.stop - self.start)
        values = operand.update.read(first, last)
        if last == self.stop:
            return values
        return torch.cat([values, values.new_zeros(self.stop - last)])

    def _read(self, stored: StoredTensor) -> "torch.Tensor":
        if stored not in self._stored:
            self._stored[stored] = self._numbers(stored)
        return self._stored[stored]

    def _numbers(self, stored: StoredTensor) -> "torch.Tensor":
        values = self.raw(stored).values.to(self._device).to(self._dtype)
        if len(values) and not self.check_later:
            self.check_finite(stored, values)
        return values
