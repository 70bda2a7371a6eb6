"""What a pass has written of each output: blocks go to a writer, their digests stay here."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from merge.engine.blocks import Task
from merge.engine.fp8_output import SCALE, row_scales
from merge.engine.options import Options
from merge.engine.plan import Plan, TensorPlan
from merge.formats.checksums import block_ranges, combine, digest
from merge.formats.dtypes import ITEM_SIZE
from merge.formats.stored_tensor import FilePlace
from merge.models.block_reads import RawBlock

if TYPE_CHECKING:
    import torch

# Told the bytes of each part of an output when it is written.
Progress = Callable[[int], None]


class BlockWriter(Protocol):
    """Where the blocks of one output go."""

    def write(
        self, name: str, position: int, data: memoryview, source: FilePlace | None = None
    ) -> None:
        """Write part of a tensor, ``position`` bytes from its start; called by several threads.

        ``source`` is where the same bytes lie in a file, if they do.
        """


class Outputs:
    """The outputs of one plan, one for each λ."""

    def __init__(
        self, plan: Plan, writers: Sequence[BlockWriter], options: Options, progress: Progress
    ) -> None:
        self._writers = writers
        self._block = options.block_elements
        self._progress = progress
        self._digests: list[dict[str, dict[int, bytes]]] = [
            {tensor.name: {} for tensor in plan.tensors} for _ in writers
        ]

        # Of the matrices that are written as codes, by their names.
        self._scales: list[dict[str, torch.Tensor]] = [
            {tensor.name: _empty(tensor.shape[0]) for tensor in plan.tensors if tensor.scaled}
            for _ in writers
        ]
        self._matrices = [tensor for tensor in plan.tensors if tensor.scaled]

    def keep_scales(
        self, task: Task, tensor: TensorPlan, number: int, scales: "torch.Tensor"
    ) -> None:
        """Keep the scales of a block's rows until those of all rows are written."""
        first = task.start // tensor.shape[1]
        self._scales[number][tensor.name][first : first + len(scales)] = scales

    def write(self, task: Task, tensor: TensorPlan, number: int, data: memoryview) -> None:
        """Write a block as it was computed."""
        size = ITEM_SIZE[tensor.dtype]
        digests = [
            digest(data[start * size : stop * size])
            for start, stop in block_ranges(len(data) // size, self._block)
        ]
        self._write(task, tensor, number, data, digests)

    def write_raw(self, task: Task, tensor: TensorPlan, number: int, raw: RawBlock) -> None:
        """Write a block of the base as it is."""
        assert tensor.operands.base is not None
        source = tensor.operands.base.stored.place(task.start)
        self._write(task, tensor, number, raw.data, raw.digests, source)

    def _write(
        self,
        task: Task,
        tensor: TensorPlan,
        number: int,
        data: memoryview,
        digests: Sequence[bytes],
        source: FilePlace | None = None,
    ) -> None:
        position = task.start * ITEM_SIZE[tensor.dtype]
        self._writers[number].write(tensor.name, position, data, source)
        self._progress(len(data))
        first = task.start // self._block
        self._digests[number][tensor.name].update(enumerate(digests, first))

    def has_all(self, tensor: TensorPlan) -> bool:
        """Return whether every block of a tensor is written."""
        return len(self._digests[-1][tensor.name]) * self._block >= tensor.elements

    def finished(self) -> list[dict[str, str]]:
        """Write what is known once all blocks are; return every tensor's checksum, by output."""
        found = [
            {
                name: combine(blocks[index] for index in sorted(blocks))
                for name, blocks in digests.items()
            }
            for digests in self._digests
        ]
        for number, checksums in enumerate(found):
            for matrix in self._matrices:
                data = _bytes(self._scales[number][matrix.name])
                size = self._block * ITEM_SIZE[SCALE]
                pieces = (data[start:stop] for start, stop in block_ranges(len(data), size))
                name = row_scales(matrix).name
                checksums[name] = combine(digest(piece) for piece in pieces)
                self._writers[number].write(name, 0, data)
                self._progress(len(data))
        return found


def _empty(count: int) -> "torch.Tensor":
    import torch

    return torch.empty(count, dtype=torch.float32)


def _bytes(values: "torch.Tensor") -> memoryview:
    import torch

    return values.view(torch.uint8).numpy().data
