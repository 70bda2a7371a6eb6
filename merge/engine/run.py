"""One pass over the inputs: every block read once, every output computed from it and written.

Threads take blocks from one queue. Memory is a few blocks per thread, whatever the model's size.
Sums over a tensor are kept per block and added in the blocks' order, so the result does not depend
on the number of threads. Several merges of the same models share the pass, and each has the bits
that it has alone; methods that want blocks, rows or whole tensors have a pass each.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from merge.engine.allocator import keep_freed_memory
from merge.engine.blocks import Task, tasks, tensor_groups, threads_for
from merge.engine.options import Options
from merge.engine.outputs import BlockWriter, Progress
from merge.engine.pass_cache import BUDGET_BYTES, PassCache
from merge.engine.plan import Plan, TensorPlan
from merge.engine.plan_work import Digests, PlanWork, Result
from merge.engine.readahead import ahead, will_need
from merge.engine.threads import Team, single_threaded_torch
from merge.formats.checksums import digest
from merge.formats.stored_tensor import StoredTensor
from merge.methods.method import Granularity
from merge.models.block_reads import Reads
from merge.models.input_tensors import InputTensor

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


def run_by_tensor(plan: Plan, writer: BlockWriter, options: Options) -> Iterator[TensorPlan]:
    """Compute a plan's one output, and yield each tensor when all of it is written. See `run`."""
    keep_freed_memory()
    worker = _Worker([plan], [[writer]], options, lambda _: None, {})
    with ThreadPoolExecutor(options.thread_count) as pool:
        for number in worker.one_by_one(pool):
            yield plan.tensors[number]


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


# What a pass reads of one of a plan's tensors from the disk, for the first time.
_Soon = Callable[[Plan, int], Sequence[InputTensor]]


def _read_measuring(plan: Plan, number: int) -> Sequence[InputTensor]:
    """Return what methods with passes measure; those of LoRA alone choose what they look at."""
    tensor, method = plan.tensors[number], plan.method
    return tensor.operands.all() if method.passes and _all_read(plan, tensor) else ()


def _read_again(plan: Plan, number: int) -> Sequence[InputTensor]:
    del plan, number
    return ()


def _read_merging(plan: Plan, number: int) -> Sequence[InputTensor]:
    """Return what is merged and was not measured, and of what is copied the base."""
    tensor = plan.tensors[number]
    if not _all_read(plan, tensor):
        return [base] if (base := tensor.operands.base) else ()
    return () if plan.method.passes else tensor.operands.all()


def _all_read(plan: Plan, tensor: TensorPlan) -> bool:
    return tensor.merged and not plan.method.needs_adapter


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
                Result([], self._digests),
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
            team.run(self.merge, self._tasks(group, _read_merging))
            self.forget()

    def one_by_one(self, pool: ThreadPoolExecutor) -> Iterator[int]:
        """Measure and merge every tensor as `run` does, and yield its number when it is done."""
        plans = [part.plan for part in self.parts]
        for group in tensor_groups(plans):
            with single_threaded_torch():
                self.measure(Team(pool, threads_for(plans[0], group, self._options)), group)
            for number in group:
                team = Team(pool, threads_for(plans[0], [number], self._options))
                with single_threaded_torch():
                    team.run(self.merge, self._tasks([number], _read_merging))
                yield number
            self.forget()

    def measure(self, team: Team, numbers: Sequence[int]) -> None:
        """Let the methods measure some tensors, in as many passes as they declare."""
        tensors = [part.plan.tensors for part in self.parts]
        numbers = [n for n in numbers if any(own[n].merged and own[n].elements for own in tensors)]
        most = max(part.plan.method.passes for part in self.parts) if numbers else 0
        for done in range(most):
            measuring = [part for part in self.parts if part.plan.method.passes > done]
            for part in measuring:
                part.begin_pass(numbers, first=not done)

            def work(task: Task, measuring: "Sequence[PlanWork]" = measuring) -> None:
                reads = self._reads(task)
                for part in measuring:
                    part.measure(task, reads)

            soon = _read_measuring if not done else _read_again
            team.run(work, self._tasks(numbers, soon))
            for part in measuring:
                part.end_pass(numbers)
        if most:
            for part in self.parts:
                part.count(numbers)

    def merge(self, task: Task) -> None:
        """Compute and write one block of every output."""
        reads = self._reads(task, all(part.shows_nonfinite(task) for part in self.parts))
        for part in self.parts:
            part.merge(task, reads)
        last = self.parts[-1]
        if last.outputs.has_all(last.plan.tensors[task.number]):
            for part in self.parts:
                part.forget_updates(task)

    def _tasks(self, numbers: Sequence[int], soon: "_Soon") -> Iterator[Task]:
        """Return every block of some tensors, what is read of the next ones on its way."""
        every = tasks(self.parts[0].plan, numbers, self._options.block_elements)

        def ask(task: Task) -> None:
            operands = [each for part in self.parts for each in soon(part.plan, task.number)]
            will_need({each.stored: None for each in operands}, task.start, task.stop)

        return ahead(every, ask)

    def forget(self) -> None:
        """Let go of what was kept for the tensors that are done."""
        for part in self.parts:
            part.forget_kept()

    def _reads(self, task: Task, check_later: bool = False) -> Reads:
        return Reads(
            task.start,
            task.stop,
            self.parts[0].plan.tensors[task.number].work_dtype,
            observe=self._observe,
            block_elements=self._options.block_elements,
            device=self._options.device,
            allow_nonfinite=self._options.allow_nonfinite,
            check_later=check_later,
        )

    def _observe(self, tensor: StoredTensor, start: int, data: memoryview) -> bytes:
        """Take note of a block of an input, the first time it is read, and return its digest."""
        known = self._digests.setdefault(tensor, {})
        if start not in known:
            known[start] = digest(data)
        return known[start]
