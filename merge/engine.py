"""One pass over the inputs: every block read once, every output computed from it and written.

Threads take blocks from one queue. Memory is a few blocks per thread, whatever the model's size.
Sums over a tensor are kept per block and added in the blocks' order, so the result does not depend
on the number of threads. Several merges of the same models share the pass, and each has the bits
that it has alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from merge.allocator import keep_freed_memory
from merge.formats.checksums import digest
from merge.formats.stored_tensor import StoredTensor
from merge.kept import BUDGET_BYTES, Kept
from merge.models.block_reads import Reads
from merge.options import Options
from merge.part import Digests, Part, Progress, Result, Task, block_count
from merge.plan import Plan
from merge.shards import ShardWriter
from merge.threads import Team, single_threaded_torch

if TYPE_CHECKING:
    import torch

GROUP_ELEMENTS = 1 << 24


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
            Part(
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

            def work(task: Task, measuring: "Sequence[Part]" = measuring) -> None:
                reads = self._reads(task)
                for part in measuring:
                    part.measure(task, reads)

            team.run(work, _tasks(self.parts[0].plan, numbers))
            for part in measuring:
                part.end_pass(numbers)
        if most:
            for part in self.parts:
                part.count(numbers)

    def merge(self, task: Task) -> None:
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

    def _reads(self, task: Task) -> Reads:
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


def _tasks(plan: Plan, numbers: Iterable[int]) -> Iterator[Task]:
    for number in numbers:
        elements = plan.tensors[number].elements
        for index in range(block_count(elements)):
            yield Task(number, index, elements)
