"""One plan's part of a pass: what it measures, merges and writes of every block."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from merge.engine.blocks import Task
from merge.engine.fp8_output import quantise_rows, row_scales
from merge.engine.options import Options
from merge.engine.pass_cache import PassCache
from merge.engine.plan import Plan, TensorPlan
from merge.engine.rounding_loss import RoundingLoss, RoundingSample
from merge.engine.threads import OrderedSum, WholeSum
from merge.errors import MergeError
from merge.formats.checksums import block_ranges, combine, digest
from merge.formats.dtypes import ITEM_SIZE, torch_dtype
from merge.formats.finite_values import all_finite
from merge.formats.stored_tensor import StoredTensor
from merge.methods.block import Block
from merge.models.block_reads import Reads

if TYPE_CHECKING:
    import torch

# Told the bytes of each output block when it is written.
Progress = Callable[[int], None]

# The digests of input blocks that were read, by tensor and first element.
Digests = dict[StoredTensor, dict[int, bytes]]


@dataclass
class Result:
    """What a run computed for one plan besides the files.

    Attributes:
        checksums: for each output, every tensor's checksum.
        input_digests: of all inputs of the run.
        report: how often each thing worth counting happened.
        different_copies: integer and boolean tensors that are not the same in all inputs.
        rounding: for each output, what its type rounded away.
        notes: what the user should know of the result.
    """

    checksums: list[dict[str, str]]
    input_digests: Digests
    report: Counter[str] = field(default_factory=Counter)
    different_copies: set[str] = field(default_factory=set)
    rounding: list[RoundingLoss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class BlockWriter(Protocol):
    """Where the blocks of one output go."""

    def write(self, name: str, position: int, data: memoryview) -> None:
        """Write part of a tensor, ``position`` bytes from its start; called by several threads."""


class PlanWork:
    """One plan's part of the work on every block."""

    def __init__(
        self,
        plan: Plan,
        writers: Sequence[BlockWriter],
        options: Options,
        progress: Progress,
        result: Result,
        kept: PassCache | None,
    ) -> None:
        self.plan = plan
        self.result = result
        self.totals: dict[str, list[torch.Tensor]] = {}
        self._writers = writers
        self._options = options
        self._progress = progress
        self._kept = kept
        self._rounding = RoundingSample(plan, options)
        # Of each output, by the matrix whose rows they are of.
        self._scales: list[dict[str, torch.Tensor]] = [{} for _ in writers]
        for scales in self._scales:
            scales |= {t.name: _empty(t.shape[0]) for t in plan.tensors if t.scaled}
        self._sums: dict[str, OrderedSum] | dict[str, WholeSum] = {}
        self._digests: list[dict[str, dict[int, bytes]]] = [
            {tensor.name: {} for tensor in plan.tensors} for _ in writers
        ]

    def begin_pass(self, numbers: Sequence[int], *, first: bool) -> None:
        """Make room for the sums of a pass over some tensors."""
        names = [self.plan.tensors[number].name for number in numbers]
        if first:
            self.totals = {name: [] for name in names}
        method = self.plan.method
        if any(method.pooled(self.plan.tensors[number].values) for number in numbers):
            self._sums = dict.fromkeys(names, WholeSum())
        else:
            self._sums = {name: OrderedSum() for name in names}

    def measure(self, task: Task, reads: Reads) -> None:
        """Add one block to its tensor's sum."""
        tensor = self.plan.tensors[task.number]
        block = self._block(tensor, reads)
        part = self.plan.method.measure(block, tensor.values, self.totals[tensor.name])
        self._sums[tensor.name].add(task.index, part)
        if task.stop == tensor.elements:
            # Over a whole model all adapters' parts would be kept at once.
            self.forget_updates(task)

    def end_pass(self, numbers: Sequence[int]) -> None:
        """Let the method draw its conclusions from the sums."""
        for name, total in self._sums.items():
            self.totals[name].append(total.value())
        tensors = [self.plan.tensors[number] for number in numbers]
        self.plan.method.settle(self.totals, {tensor.name: tensor.values for tensor in tensors})

    def count(self, numbers: Sequence[int]) -> None:
        """Count what happened to the tensors that were measured."""
        for tensor in (self.plan.tensors[number] for number in numbers):
            totals = self.totals.get(tensor.name)
            if totals and (note := self.plan.method.report(tensor.values, totals)):
                self.result.report[note] += 1

    def merge(self, task: Task, reads: Reads) -> None:
        """Compute and write one block of every λ."""
        tensor = self.plan.tensors[task.number]
        if tensor.copied:
            self._copy(task, tensor, reads)
            return
        block = self._block(tensor, reads)
        totals = self.totals.get(tensor.name, [])
        outputs = self.plan.method.merge(block, tensor.values, tensor.lambdas, totals)
        exact = self._base_bits(tensor, reads)
        for number, values in enumerate(outputs):
            if exact is not None and tensor.lambdas[number] == 0:
                self._write(task, tensor, number, exact)
            else:
                self._rounding.compare(task, number, values, reads)
                self._write(task, tensor, number, self._stored(task, tensor, number, values))

    def _base_bits(self, tensor: TensorPlan, reads: Reads) -> memoryview | None:
        """Return the base's bytes where λ = 0 is it; adding 0 would lose the sign of another."""
        base = tensor.operands.base
        if not self.plan.method.starts_at_base or 0 not in tensor.lambdas or base is None:
            return None
        if base.stored.dtype != tensor.dtype or base.adapter or base.stored.shape != tensor.shape:
            return None
        return reads.raw(base.stored)

    def has_all(self, task: Task) -> bool:
        """Return whether every block of a tensor is written."""
        tensor = self.plan.tensors[task.number]
        written = len(self._digests[-1][tensor.name])
        return written * self._options.block_elements >= tensor.elements

    def forget_updates(self, task: Task) -> None:
        """Let go of the adapters' parts of a tensor."""
        for operand in self.plan.tensors[task.number].operands.all():
            operand.forget()

    def forget_kept(self) -> None:
        """Let go of what was kept between passes."""
        if self._kept:
            self._kept.clear()

    def finished(self) -> Result:
        """Combine the blocks' digests and return the result."""
        for checksums, digests in zip(self.result.checksums, self._digests, strict=True):
            for name, blocks in digests.items():
                checksums[name] = combine(blocks[index] for index in sorted(blocks))
        self._write_scales()
        self.result.rounding = self._rounding.losses
        if note := self._rounding.note():
            self.result.notes.append(note)
        return self.result

    def _block(self, tensor: TensorPlan, reads: Reads) -> Block:
        keep = self._kept.get if self._kept else None
        return Block(
            tensor.name,
            tensor.operands,
            reads,
            seed=self.plan.recipe.seed,
            elements=tensor.elements,
            keep=keep,
        )

    def _stored(
        self, task: Task, tensor: TensorPlan, number: int, values: "torch.Tensor"
    ) -> memoryview:
        """Return a block's bytes as the output has them, and keep its rows' scales for later."""
        import torch

        if not tensor.scaled:
            return self._rounded(tensor, values)
        columns = tensor.shape[1]
        codes, scales = quantise_rows(values.to("cpu"), columns)
        if not self._options.allow_nonfinite and not all_finite(scales):
            raise MergeError(
                f"Merging gives NaN or infinity in {tensor.name}; use another copy of the models."
            )
        first = task.start // columns
        self._scales[number][tensor.name][first : first + len(scales)] = scales
        return codes.view(torch.uint8).numpy().data

    def _write_scales(self) -> None:
        """Write what is known once all rows are."""
        import torch

        size = self._options.block_elements
        for number, matrices in enumerate(self._scales):
            for tensor in (each for each in self.plan.tensors if each.name in matrices):
                name, values = row_scales(tensor).name, matrices[tensor.name]
                pieces = (values[start:stop] for start, stop in block_ranges(len(values), size))
                data = values.view(torch.uint8).numpy().data
                self.result.checksums[number][name] = combine(
                    digest(piece.view(torch.uint8).numpy().data) for piece in pieces
                )
                self._writers[number].write(name, 0, data)
                self._progress(len(data))

    def _rounded(self, tensor: TensorPlan, values: "torch.Tensor") -> memoryview:
        import torch

        output = values.to("cpu").to(torch_dtype(tensor.dtype))
        if not self._options.allow_nonfinite and not all_finite(output):
            raise MergeError(
                f"Merging gives NaN or infinity in {tensor.name} as {tensor.dtype}; "
                f"write a wider --dtype such as bfloat16 or float32."
            )
        return output.contiguous().view(torch.uint8).numpy().data

    def _copy(self, task: Task, tensor: TensorPlan, reads: Reads) -> None:
        base, *more = tensor.operands.all()
        if base.stored.dtype != tensor.dtype:
            data = self._rounded(tensor, reads.weight(base))
        else:
            data = reads.raw(base.stored)
        others = (reads.raw(operand.stored) for operand in more)
        if any(other != data for other in others):
            self.result.different_copies.add(tensor.name)
        for number in range(len(self._writers)):
            self._write(task, tensor, number, data)

    def _write(self, task: Task, tensor: TensorPlan, number: int, data: memoryview) -> None:
        size = ITEM_SIZE[tensor.dtype]
        for start, stop in block_ranges(len(data) // size, self._options.block_elements):
            index = (task.start + start) // self._options.block_elements
            self._digests[number][tensor.name][index] = digest(data[start * size : stop * size])
        self._writers[number].write(tensor.name, task.start * size, data)
        self._progress(len(data))


def _empty(count: int) -> "torch.Tensor":
    import torch

    return torch.empty(count, dtype=torch.float32)
