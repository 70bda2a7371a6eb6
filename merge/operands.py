"""What a method computes on: one block of one tensor, from every input of the merge.

A block is a run of elements of the flattened tensor. Its inputs are read when first asked for and
kept until the block is done, so a method names what it needs and nothing is read twice, by however
many merges that are computed together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from merge.errors import MergeError
from merge.formats.finite_values import all_finite, first_nonfinite
from merge.formats.stored_tensor import StoredTensor
from merge.kept import Kept
from merge.lora.adapter import Adapter
from merge.lora.updates import LowRank, Update

if TYPE_CHECKING:
    import torch

# Told about the bytes of every block that is read: the tensor, the first element, the bytes.
Observer = Callable[[StoredTensor, int, memoryview], None]
_Identity = tuple[StoredTensor, StoredTensor | None, int, str]


@dataclass(frozen=True)
class Operand:
    """One input's tensor: stored, or stored plus an adapter's update.

    Attributes:
        stored: the tensor in its file.
        adapter: the adapter that updates it.
        name: the adapter's name for it.
        filler: where rows beyond the stored ones are taken from, if the output has more.
    """

    stored: StoredTensor
    adapter: Adapter | None = None
    name: str = ""
    filler: StoredTensor | None = None

    @property
    def identity(self) -> "_Identity":
        """What its values depend on: the same for two merges of the same inputs."""
        return self.stored, self.filler, id(self.adapter), self.name

    @cached_property
    def update(self) -> Update | None:
        """The adapter's part, read once."""
        if self.adapter is None:
            return None
        return self.adapter.read_update(self.name, self.stored)

    def forget(self) -> None:
        """Drop the adapter's part; it is read again if it is asked for again."""
        self.__dict__.pop("update", None)


@dataclass(frozen=True)
class Operands:
    """One tensor of every input, by the role the input plays.

    Attributes:
        base: the model merged toward; None for methods without one.
        tuned: the fine-tuned models, in the recipe's order.
        aligned, unaligned: the two ends of a safety vector.
        vector: a safety vector saved before.
    """

    base: Operand | None
    tuned: tuple[Operand, ...]
    aligned: Operand | None = None
    unaligned: Operand | None = None
    vector: Operand | None = None

    def all(self) -> list[Operand]:
        """Return every operand that is there."""
        named = (self.base, *self.tuned, self.aligned, self.unaligned, self.vector)
        return [operand for operand in named if operand is not None]


class Reads:
    """Elements ``start`` to ``stop`` of stored tensors, flat and in float32, each read once.

    Every merge that is computed in one pass takes its block's inputs from here.
    """

    def __init__(
        self,
        start: int,
        stop: int,
        *,
        observe: Observer,
        device: str = "cpu",
        allow_nonfinite: bool = False,
    ) -> None:
        self.start = start
        self.stop = stop
        self._observe = observe
        self._device = device
        self._allow_nonfinite = allow_nonfinite
        self._stored: dict[StoredTensor, torch.Tensor] = {}
        self._weights: dict[_Identity, torch.Tensor] = {}
        self._updates: dict[_Identity, torch.Tensor] = {}
        self._differences: dict[tuple[_Identity, _Identity], torch.Tensor] = {}

    def weight(self, operand: Operand) -> "torch.Tensor":
        """Return an input's weights."""
        stored = self._extended(operand)
        if operand.adapter is None:
            return stored
        key = operand.identity
        if key not in self._weights:
            self._weights[key] = stored + self._update(operand)
        return self._weights[key]

    def difference(self, left: Operand, right: Operand) -> "torch.Tensor":
        """Return one input's weights minus another's."""
        key = left.identity, right.identity
        if key not in self._differences:
            self._differences[key] = self._subtracted(left, right)
        return self._differences[key]

    def raw(self, stored: StoredTensor) -> memoryview:
        """Return stored elements' bytes, as they are."""
        data = stored.read_bytes(self.start, self.stop)
        self._observe(stored, self.start, data)
        return data

    def _subtracted(self, left: Operand, right: Operand) -> "torch.Tensor":
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

    def _extended(self, operand: Operand) -> "torch.Tensor":
        """Return the stored elements, and the filler's where the output has more rows."""
        import torch

        stored = self._read(operand.stored)
        if operand.filler is None or len(stored) == self.stop - self.start:
            return stored
        return torch.cat([stored, self._read(operand.filler)[len(stored) :]])

    def _update(self, operand: Operand) -> "torch.Tensor":
        key = operand.identity
        if key not in self._updates:
            assert operand.update is not None
            values = operand.update.read(self.start, self.stop)
            self._updates[key] = values.to(self._device)
        return self._updates[key]

    def _read(self, stored: StoredTensor) -> "torch.Tensor":
        if stored not in self._stored:
            self._stored[stored] = self._fetch(stored)
        return self._stored[stored]

    def _fetch(self, stored: StoredTensor) -> "torch.Tensor":
        import torch

        first, last = min(self.start, stored.elements), min(self.stop, stored.elements)
        data, raw = stored.read(first, last)
        if first == last:
            return data.to(self._device).to(torch.float32)
        self._observe(stored, self.start, raw)
        values = data.to(self._device).to(torch.float32)
        if not self._allow_nonfinite and not all_finite(values):
            raise MergeError(
                f"{stored.path}: tensor {stored.name} holds NaN or infinity near element "
                f"{self.start + first_nonfinite(values)}; use another copy of the model, or "
                f"--allow-nonfinite to merge it all the same."
            )
        return values


class Block:
    """What one merge computes on: a block of one tensor, from every input of its own.

    The tensors a method gets from here are shared: it must not change them in place.
    """

    def __init__(
        self, name: str, operands: Operands, reads: Reads, *, seed: int, kept: Kept | None = None
    ) -> None:
        self.name = name
        self.start = reads.start
        self.stop = reads.stop
        self.seed = seed
        self._operands = operands
        self._reads = reads
        self._kept = kept

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole tensor's shape."""
        return _present(self._operands.base).stored.shape

    @property
    def low_rank(self) -> LowRank | None:
        """The one fine-tuned model's LoRA update of this tensor, or None if it has none."""
        update = self._operands.tuned[0].update
        return update if isinstance(update, LowRank) else None

    @property
    def base(self) -> "torch.Tensor":
        """The base's weights."""
        return self._reads.weight(_present(self._operands.base))

    @property
    def tuned(self) -> "list[torch.Tensor]":
        """Each fine-tuned model's weights."""
        return [self._reads.weight(operand) for operand in self._operands.tuned]

    def once(self, what: str, compute: "Callable[[], torch.Tensor]") -> "torch.Tensor":
        """Return what an earlier pass over this block computed under this name, or compute it.

        Whether it is kept depends on memory alone. It must not be changed in place.
        """
        if self._kept is None:
            return compute()
        return self._kept.get((what, self.name, self.start), compute)

    @property
    def deltas(self) -> "list[torch.Tensor]":
        """Each fine-tuned model's weights minus the base's."""
        base = _present(self._operands.base)
        return [self._reads.difference(operand, base) for operand in self._operands.tuned]

    @property
    def safety_vector(self) -> "torch.Tensor":
        """The aligned model's weights minus the unaligned model's, or the saved vector."""
        if self._operands.vector is not None:
            return self._reads.weight(self._operands.vector)
        return self._reads.difference(
            _present(self._operands.aligned), _present(self._operands.unaligned)
        )


def _present(operand: Operand | None) -> Operand:
    assert operand is not None, "a method used a role it did not declare"
    return operand
