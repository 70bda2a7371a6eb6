"""One pass over the inputs: every block read once, every output computed from it and written.

Threads take blocks from one queue. Memory is a few blocks per thread, whatever the model's size.
Sums over a tensor are kept per block and added in the blocks' order, so the result does not depend
on the number of threads. Several merges of the same models share the pass, and each has the bits
that it has alone; methods that want blocks, rows or whole tensors have a pass each.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from merge.engine.allocator import keep_freed_memory
from merge.engine.blocks import Task, tasks, tensor_groups, threads_for
from merge.engine.options import Options
from merge.engine.pass_cache import BUDGET_BYTES, PassCache
from merge.engine.plan import Plan
from merge.engine.plan_work import BlockWriter, Digests, PlanWork, Progress, Result
from merge.engine.threads import Team, single_threaded_torch
from merge.formats.checksums import digest
from merge.formats.stored_tensor import StoredTensor
from merge.methods.method import Granularity
from merge.models.block_reads import Reads

if TYPE_CHECKING:
    import torch


def run(
    plans: Sequence[Plan],
    writers: Sequence[Sequence[BlockWriter]],
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
    digests: Digests = {}
    alike: dict[Granularity, list[int]] = defaultdict(list)
    for number, plan in enumerate(plans):
        alike[plan.method.granularity].append(number)
    results: dict[int, Result] = {}
    with single_threaded_torch(), ThreadPoolExecutor(options.thread_count) as pool:
        for numbers in alike.values():
            some = [plans[number] for number in numbers]
            worker = _Worker(some, [writers[n] for n in numbers], options, progress, digests)
            worker.run(pool)
            results |= zip(numbers, (part.finished() for part in worker.parts), strict=True)
    return [results[number] for number in range(len(plans))]


def measure(plan: Plan, options: Options) -> "tuple[dict[str, list[torch.Tensor]], Result]":
    """Let the method measure every tensor, without merging any. See `run`."""
    keep_freed_memory()
    worker = _Worker([plan], [[]], options, lambda _: None, {})
    [part] = worker.parts
    totals: dict[str, list[torch.Tensor]] = {}
    with single_threaded_torch(), ThreadPoolExecutor(options.thread_count) as pool:
        for group in tensor_groups([plan]) if plan.method.passes else []:
            team = Team(pool, threads_for(plan, group, options))
            worker.measure(team, group)
            totals |= part.totals
            worker.forget()
    return totals, part.result


class _Worker:
    """The work on one block, whichever thread does it: the same reads for every plan."""

    def __init__(
        self,
        plans: Sequence[Plan],
        writers: Sequence[Sequence[BlockWriter]],
        options: Options,
        progress: Progress,
        digests: Digests,
    ) -> None:
        self._options = options
        self._digests = digests
        measuring = sum(1 for plan in plans if plan.method.passes)
        self.parts = [
            PlanWork(
                plan,
                outputs,
                options,
                progress,
                Result([{} for _ in outputs], self._digests),
                PassCache(options.block_elements, BUDGET_BYTES // measuring)
                if plan.method.passes
                else None,
            )
            for plan, outputs in zip(plans, writers, strict=True)
        ]

    def run(self, pool: ThreadPoolExecutor) -> None:
        """Measure and merge every tensor, group by group."""
        plans = [part.plan for part in self.parts]
        for group in tensor_groups(plans):
            team = Team(pool, threads_for(plans[0], group, self._options))
            self.measure(team, group)
            team.run(self.merge, tasks(plans[0], group, self._options.block_elements))
            self.forget()

    def measure(self, team: Team, numbers: Sequence[int]) -> None:
        """Let the methods measure some tensors, in as many passes as they declare."""
        tensors = self.parts[0].plan.tensors
        numbers = [n for n in numbers if not tensors[n].copied and tensors[n].elements]
        most = max(part.plan.method.passes for part in self.parts) if numbers else 0
        for done in range(most):
            measuring = [part for part in self.parts if part.plan.method.passes > done]
            for part in measuring:
                part.begin_pass(numbers, first=not done)

            def work(task: Task, measuring: "Sequence[PlanWork]" = measuring) -> None:
                reads = self._reads(task)
                for part in measuring:
                    part.measure(task, reads)

            team.run(work, tasks(self.parts[0].plan, numbers, self._options.block_elements))
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
            self.parts[0].plan.tensors[task.number].work_dtype,
            observe=self._observe,
            block_elements=self._options.block_elements,
            device=self._options.device,
            allow_nonfinite=self._options.allow_nonfinite,
        )

    def _observe(self, tensor: StoredTensor, start: int, data: memoryview) -> None:
        """Take note of a block of an input, the first time it is read."""
        blocks = self._digests.setdefault(tensor, {})
        if start not in blocks:
            blocks[start] = digest(data)
