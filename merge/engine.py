"""One pass over the inputs: every block read once, every output computed from it and written.

Threads take blocks from one queue. Memory is a few blocks per thread, whatever the model's size.
Sums over a tensor are kept per block and added in the blocks' order, so the result does not depend
on the number of threads. Several merges of the same models share the pass, and each has the bits
that it has alone.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from merge.allocator import keep_freed_memory
from merge.checksums import BLOCK_ELEMENTS, combine, digest
from merge.dtypes import ITEM_SIZE, torch_dtype
from merge.errors import MergeError
from merge.finite import all_finite
from merge.kept import BUDGET_BYTES, Kept
from merge.operands import Block, Reads
from merge.plan import Plan, TensorPlan
from merge.shards import ShardWriter
from merge.sources import StoredTensor
from merge.threads import OrderedSum, Team, single_threaded_torch

if TYPE_CHECKING:
    import torch

GROUP_ELEMENTS = 1 << 24

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Options:
    """How to run; none of it changes the result beyond a last rounding on another device."""

    threads: int = 0
    device: str = "cpu"
    allow_nonfinite: bool = False

    @property
    def thread_count(self) -> int:
        """Threads to use: as asked, or as many as this process may run on."""
        if self.threads > 0:
            return self.threads
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


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
    """

    checksums: list[dict[str, str]]
    input_digests: Digests
    report: Counter[str] = field(default_factory=Counter)
    different_copies: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Task:
    """One block of the plans' tensor of this number."""

    number: int
    index: int
    elements: int

    @property
    def start(self) -> int:
        return self.index * BLOCK_ELEMENTS

    @property
    def stop(self) -> int:
        return min(self.start + BLOCK_ELEMENTS, self.elements)


def run(
    plans: Sequence[Plan],
    writers: Sequence[Sequence[ShardWriter]],
    options: Options,
    progress: Progress,
) -> list[Result]:
    """Compute every output of some plans in one pass over their inputs.

    Args:
        plans: what to compute; their tensors have the same names and sizes, in the same order.
        writers: for each plan, where each output goes, in the order of its λ.
        options: threads and device.
        progress: told the bytes of each output block when it is written.

    Returns:
        Each plan's result.

    Raises:
        MergeError: an input or output cannot be read or written, or holds NaN or infinity.
    """
    keep_freed_memory()
    worker = _Worker(plans, writers, options, progress)
    with single_threaded_torch(), ThreadPoolExecutor(options.thread_count) as pool:
        team = Team(pool, options.thread_count)
        for group in _groups(plans):
            worker.measure(team, group)
            team.run(worker.merge, _tasks(plans[0], group))
            worker.forget()
    return [part.finished() for part in worker.parts]


def measure(plan: Plan, options: Options) -> "tuple[dict[str, list[torch.Tensor]], Result]":
    """Let the method measure every tensor, without merging any. See `run`."""
    keep_freed_memory()
    worker = _Worker([plan], [[]], options, lambda _: None)
    [part] = worker.parts
    totals: dict[str, list[torch.Tensor]] = {}
    with single_threaded_torch(), ThreadPoolExecutor(options.thread_count) as pool:
        team = Team(pool, options.thread_count)
        for group in _groups([plan]) if plan.method.passes else []:
            worker.measure(team, group)
            totals |= part.totals
            worker.forget()
    return totals, part.result


class _Worker:
    """The work on one block, whichever thread does it: the same reads for every plan."""

    def __init__(
        self,
        plans: Sequence[Plan],
        writers: Sequence[Sequence[ShardWriter]],
        options: Options,
        progress: Progress,
    ) -> None:
        self._options = options
        self._digests: Digests = {}
        measuring = sum(1 for plan in plans if plan.method.passes)
        self.parts = [
            _Part(
                plan,
                outputs,
                options,
                progress,
                Result([{} for _ in outputs], self._digests),
                Kept(BUDGET_BYTES // measuring) if plan.method.passes else None,
            )
            for plan, outputs in zip(plans, writers, strict=True)
        ]

    def measure(self, team: Team, numbers: Sequence[int]) -> None:
        """Let the methods measure some tensors, in as many passes as they declare."""
        tensors = self.parts[0].plan.tensors
        numbers = [n for n in numbers if not tensors[n].copied and tensors[n].elements]
        most = max(part.plan.method.passes for part in self.parts) if numbers else 0
        for done in range(most):
            measuring = [part for part in self.parts if part.plan.method.passes > done]
            for part in measuring:
                part.begin_pass(numbers, first=not done)

            def work(task: _Task, measuring: "Sequence[_Part]" = measuring) -> None:
                reads = self._reads(task)
                for part in measuring:
                    part.measure(task, reads)

            team.run(work, _tasks(self.parts[0].plan, numbers))
            for part in measuring:
                part.end_pass(numbers)
        if most:
            for part in self.parts:
                part.count(numbers)

    def merge(self, task: _Task) -> None:
        """Compute and write one block of every output."""
        reads = self._reads(task)
        for part in self.parts:
            part.merge(task, reads)
        if self.parts[-1].has_all(task):
            for part in self.parts:
                part.forget_updates(task)

    def forget(self) -> None:
        """Let go of what was kept for the tensors that are done."""
        for part in self.parts:
            part.forget_kept()

    def _reads(self, task: _Task) -> Reads:
        return Reads(
            task.start,
            task.stop,
            observe=self._observe,
            device=self._options.device,
            allow_nonfinite=self._options.allow_nonfinite,
        )

    def _observe(self, tensor: StoredTensor, start: int, data: memoryview) -> None:
        """Take note of a block of an input, the first time it is read."""
        blocks = self._digests.setdefault(tensor, {})
        if start not in blocks:
            blocks[start] = digest(data)


class _Part:
    """One plan's part of the work on a block."""

    def __init__(
        self,
        plan: Plan,
        writers: Sequence[ShardWriter],
        options: Options,
        progress: Progress,
        result: Result,
        kept: Kept | None,
    ) -> None:
        self.plan = plan
        self.result = result
        self.totals: dict[str, list[torch.Tensor]] = {}
        self._writers = writers
        self._options = options
        self._progress = progress
        self._kept = kept
        self._sums: dict[str, OrderedSum] = {}
        self._digests: list[dict[str, dict[int, bytes]]] = [
            {tensor.name: {} for tensor in plan.tensors} for _ in writers
        ]

    def begin_pass(self, numbers: Sequence[int], *, first: bool) -> None:
        """Make room for the sums of a pass over some tensors."""
        names = [self.plan.tensors[number].name for number in numbers]
        if first:
            self.totals = {name: [] for name in names}
        self._sums = {name: OrderedSum() for name in names}

    def measure(self, task: _Task, reads: Reads) -> None:
        """Add one block to its tensor's sum."""
        tensor = self.plan.tensors[task.number]
        block = self._block(tensor, reads)
        part = self.plan.method.measure(block, tensor.values, self.totals[tensor.name])
        self._sums[tensor.name].add(task.index, part)

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

    def merge(self, task: _Task, reads: Reads) -> None:
        """Compute and write one block of every λ."""
        tensor = self.plan.tensors[task.number]
        if tensor.copied:
            self._copy(task, tensor, reads)
            return
        block = self._block(tensor, reads)
        totals = self.totals.get(tensor.name, [])
        outputs = self.plan.method.merge(block, tensor.values, tensor.lambdas, totals)
        for number, values in enumerate(outputs):
            self._write(task, tensor, number, self._rounded(tensor, values))

    def has_all(self, task: _Task) -> bool:
        """Return whether every block of a tensor is written."""
        name = self.plan.tensors[task.number].name
        return len(self._digests[-1][name]) == _block_count(task.elements)

    def forget_updates(self, task: _Task) -> None:
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
        return self.result

    def _block(self, tensor: TensorPlan, reads: Reads) -> Block:
        return Block(
            tensor.name, tensor.operands, reads, seed=self.plan.recipe.seed, kept=self._kept
        )

    def _rounded(self, tensor: TensorPlan, values: "torch.Tensor") -> memoryview:
        import torch

        output = values.to("cpu").to(torch_dtype(tensor.dtype))
        if not self._options.allow_nonfinite and not all_finite(output):
            raise MergeError(
                f"Merging gives NaN or infinity in {tensor.name} as {tensor.dtype}; "
                f"write a wider --dtype such as bfloat16 or float32."
            )
        return output.contiguous().view(torch.uint8).numpy().data

    def _copy(self, task: _Task, tensor: TensorPlan, reads: Reads) -> None:
        data, *others = (reads.raw(operand.stored) for operand in tensor.operands.all())
        if any(other != data for other in others):
            self.result.different_copies.add(tensor.name)
        for number in range(len(self._writers)):
            self._write(task, tensor, number, data)

    def _write(self, task: _Task, tensor: TensorPlan, number: int, data: memoryview) -> None:
        self._digests[number][tensor.name][task.index] = digest(data)
        self._writers[number].write(tensor.name, task.start * ITEM_SIZE[tensor.dtype], data)
        self._progress(len(data))


def _groups(plans: Sequence[Plan]) -> Iterator[Sequence[int]]:
    """Return the numbers of tensors that are measured together before any of them is merged.

    Threads wait for each other after each pass over a group, so a group is several tensors, though
    no more than can be kept.
    """
    tensors = plans[0].tensors
    if not any(plan.method.passes for plan in plans) or any(
        plan.method.over_model(tensor.values) for plan in plans for tensor in plan.tensors
    ):
        yield range(len(tensors))
        return
    group: list[int] = []
    elements = 0
    for number, tensor in enumerate(tensors):
        if group and elements + tensor.elements > GROUP_ELEMENTS:
            yield group
            group, elements = [], 0
        group.append(number)
        elements += tensor.elements
    yield group


def _tasks(plan: Plan, numbers: Iterable[int]) -> Iterator[_Task]:
    for number in numbers:
        elements = plan.tensors[number].elements
        for index in range(_block_count(elements)):
            yield _Task(number, index, elements)


def _block_count(elements: int) -> int:
    return -(-elements // BLOCK_ELEMENTS)
