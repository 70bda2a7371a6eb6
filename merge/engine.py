"""One pass over the inputs: every block read once, every output computed from it and written.

Threads take blocks from one queue. Memory is a few blocks per thread, whatever the model's size.
Sums over a tensor are kept per block and added in the blocks' order, so the result does not depend
on the number of threads.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from merge.allocator import keep_freed_memory
from merge.checksums import BLOCK_ELEMENTS, combine, digest
from merge.dtypes import ITEM_SIZE, torch_dtype
from merge.errors import MergeError
from merge.finite import all_finite
from merge.kept import Kept
from merge.operands import Block
from merge.plan import Plan, TensorPlan
from merge.shards import ShardWriter
from merge.sources import StoredTensor

if TYPE_CHECKING:
    import torch

GROUP_ELEMENTS = 1 << 24

Item = TypeVar("Item")
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


@dataclass
class Result:
    """What a run computed besides the files.

    Attributes:
        checksums: for each output, every tensor's checksum.
        input_digests: the digests of every input block that was read, by tensor and first element.
        report: how often each thing worth counting happened.
        different_copies: integer and boolean tensors that are not the same in all inputs.
    """

    checksums: list[dict[str, str]]
    input_digests: dict[StoredTensor, dict[int, bytes]] = field(default_factory=dict)
    report: Counter[str] = field(default_factory=Counter)
    different_copies: set[str] = field(default_factory=set)

    def observe(self, tensor: StoredTensor, start: int, data: memoryview) -> None:
        """Take note of a block of an input, the first time it is read."""
        blocks = self.input_digests.setdefault(tensor, {})
        if start not in blocks:
            blocks[start] = digest(data)


@dataclass(frozen=True)
class _Task:
    """One block of one tensor."""

    tensor: TensorPlan
    index: int

    @property
    def start(self) -> int:
        return self.index * BLOCK_ELEMENTS

    @property
    def stop(self) -> int:
        return min(self.start + BLOCK_ELEMENTS, self.tensor.elements)


def run(plan: Plan, writers: Sequence[ShardWriter], options: Options, progress: Progress) -> Result:
    """Compute every output of a plan, one writer for each λ.

    Args:
        plan: what to compute.
        writers: where each output goes, in the order of the plan's λ.
        options: threads and device.
        progress: told the bytes of each output block when it is written.

    Raises:
        MergeError: an input or output cannot be read or written, or holds NaN or infinity.
    """
    keep_freed_memory()
    result = Result([{} for _ in writers])
    with _single_threaded_torch(), ThreadPoolExecutor(options.thread_count) as pool:
        team = _Team(pool, options.thread_count)
        worker = _Worker(plan, writers, options, progress, result)
        for group in _groups(plan):
            worker.measure(team, group)
            team.run(worker.merge, _tasks(group))
            worker.forget()
    worker.finish()
    return result


def measure(plan: Plan, options: Options) -> "tuple[dict[str, list[torch.Tensor]], Result]":
    """Let the method measure every tensor, without merging any. See `run`."""
    keep_freed_memory()
    result = Result([])
    totals: dict[str, list[torch.Tensor]] = {}
    with _single_threaded_torch(), ThreadPoolExecutor(options.thread_count) as pool:
        team = _Team(pool, options.thread_count)
        worker = _Worker(plan, [], options, lambda _: None, result)
        for group in _groups(plan) if plan.method.passes else []:
            worker.measure(team, group)
            totals |= worker.totals
            worker.forget()
    return totals, result


class _Worker:
    """The work on one block, whichever thread does it."""

    def __init__(
        self,
        plan: Plan,
        writers: Sequence[ShardWriter],
        options: Options,
        progress: Progress,
        result: Result,
    ) -> None:
        self._plan = plan
        self._writers = writers
        self._options = options
        self._progress = progress
        self._result = result
        self._digests: list[dict[str, dict[int, bytes]]] = [
            {tensor.name: {} for tensor in plan.tensors} for _ in writers
        ]
        self._kept = Kept() if plan.method.passes else None
        self.totals: dict[str, list[torch.Tensor]] = {}

    def forget(self) -> None:
        """Let go of what was kept for the tensors that are done."""
        if self._kept:
            self._kept.clear()

    def merge(self, task: _Task) -> None:
        """Compute and write one block of every output."""
        if task.tensor.copied:
            self._copy(task)
            return
        block = self._block(task)
        totals = self.totals.get(task.tensor.name, [])
        tensor = task.tensor
        outputs = self._plan.method.merge(block, tensor.values, tensor.lambdas, totals)
        for number, values in enumerate(outputs):
            self._write(task, number, self._rounded(task, values))
        if len(self._digests[-1][tensor.name]) == _block_count(tensor):
            for operand in tensor.operands.all():
                operand.forget()

    def measure(self, team: "_Team", tensors: Sequence[TensorPlan]) -> None:
        """Let the method measure some tensors, in as many passes as it declares."""
        method = self._plan.method
        measured = [tensor for tensor in tensors if not tensor.copied and tensor.elements]
        if not method.passes or not measured:
            return
        values = {tensor.name: tensor.values for tensor in measured}
        self.totals = {tensor.name: [] for tensor in measured}
        for _ in range(method.passes):
            sums = {tensor.name: _OrderedSum() for tensor in measured}

            def part(task: _Task, sums: "dict[str, _OrderedSum]" = sums) -> None:
                name = task.tensor.name
                measure = method.measure(self._block(task), task.tensor.values, self.totals[name])
                sums[name].add(task.index, measure)

            team.run(part, _tasks(measured))
            for name, total in sums.items():
                self.totals[name].append(total.value())
            method.settle(self.totals, values)
        for name, totals in self.totals.items():
            if note := method.report(values[name], totals):
                self._result.report[note] += 1

    def finish(self) -> None:
        """Combine the blocks' digests."""
        for checksums, digests in zip(self._result.checksums, self._digests, strict=True):
            for name, blocks in digests.items():
                checksums[name] = combine(blocks[index] for index in sorted(blocks))

    def _block(self, task: _Task) -> Block:
        return Block(
            task.tensor.name,
            task.start,
            task.stop,
            task.tensor.operands,
            seed=self._plan.recipe.seed,
            observe=self._result.observe,
            device=self._options.device,
            allow_nonfinite=self._options.allow_nonfinite,
            kept=self._kept,
        )

    def _rounded(self, task: _Task, values: "torch.Tensor") -> memoryview:
        import torch

        output = values.to("cpu").to(torch_dtype(task.tensor.dtype))
        if not self._options.allow_nonfinite and not all_finite(output):
            raise MergeError(
                f"Merging gives NaN or infinity in {task.tensor.name} as {task.tensor.dtype}; "
                f"write a wider --dtype such as bfloat16 or float32."
            )
        return output.contiguous().view(torch.uint8).numpy().data

    def _copy(self, task: _Task) -> None:
        data, *others = (self._raw(operand.stored, task) for operand in task.tensor.operands.all())
        if any(other != data for other in others):
            self._result.different_copies.add(task.tensor.name)
        for number in range(len(self._writers)):
            self._write(task, number, data)

    def _raw(self, stored: StoredTensor, task: _Task) -> memoryview:
        data = stored.read_bytes(task.start, task.stop)
        self._result.observe(stored, task.start, data)
        return data

    def _write(self, task: _Task, number: int, data: memoryview) -> None:
        name = task.tensor.name
        self._digests[number][name][task.index] = digest(data)
        self._writers[number].write(name, task.start * ITEM_SIZE[task.tensor.dtype], data)
        self._progress(len(data))


class _OrderedSum:
    """Adds parts in the order of their numbers, whatever order they come in.

    Floating-point sums depend on the order; keeping all parts until the end would need memory that
    grows with the tensor.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, torch.Tensor] = {}
        self._next = 0
        self._sum: torch.Tensor | None = None

    def add(self, number: int, part: "torch.Tensor") -> None:
        """Add one part, or keep it until those before it are there."""
        with self._lock:
            self._waiting[number] = part
            while self._next in self._waiting:
                ready = self._waiting.pop(self._next)
                self._sum = ready if self._sum is None else self._sum.add_(ready)
                self._next += 1

    def value(self) -> "torch.Tensor":
        """Return the sum of all parts."""
        assert self._sum is not None, "a tensor without elements was measured"
        return self._sum


class _Team:
    """Threads that share one queue of work."""

    def __init__(self, pool: ThreadPoolExecutor, size: int) -> None:
        self._pool = pool
        self._size = size

    def run(self, work: "Callable[[Item], None]", items: "Iterable[Item]") -> None:
        """Do the work on every item; the first error stops all threads and is raised."""
        queue, lock, stop = iter(items), threading.Lock(), threading.Event()

        def take_turns() -> None:
            while not stop.is_set():
                with lock:
                    item = next(queue, None)
                if item is None:
                    return
                try:
                    work(item)
                except BaseException:
                    stop.set()
                    raise

        futures = [self._pool.submit(take_turns) for _ in range(self._size)]
        try:
            for future in futures:
                future.result()
        finally:
            # An interrupt arrives here, in the main thread; the others must not work on.
            stop.set()


def _groups(plan: Plan) -> Iterator[Sequence[TensorPlan]]:
    """Return which tensors are measured together before any of them is merged.

    Threads wait for each other after each pass over a group, so a group is several tensors, though
    no more than can be kept.
    """
    method = plan.method
    if not method.passes or any(method.over_model(tensor.values) for tensor in plan.tensors):
        yield plan.tensors
        return
    group: list[TensorPlan] = []
    for tensor in plan.tensors:
        if group and sum(each.elements for each in group) + tensor.elements > GROUP_ELEMENTS:
            yield group
            group = []
        group.append(tensor)
    yield group


def _tasks(tensors: Iterable[TensorPlan]) -> Iterator[_Task]:
    for tensor in tensors:
        for index in range(_block_count(tensor)):
            yield _Task(tensor, index)


def _block_count(tensor: TensorPlan) -> int:
    return -(-tensor.elements // BLOCK_ELEMENTS)


@contextmanager
def _single_threaded_torch() -> Iterator[None]:
    """Our own threads share the cores; torch's, one team per thread, would fight over them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
