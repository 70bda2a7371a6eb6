"""The order of the work: which tensors are taken together, their blocks, and by how many."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from merge.engine.options import Options
from merge.engine.plan import Plan, TensorPlan
from merge.formats.checksums import block_ranges
from merge.methods.method import Granularity

GROUP_ELEMENTS = 1 << 24
# What is counted of a tensor may take half a megabyte for each model, however small the tensor is.
GROUP_TENSORS = 64
# Whole tensors that are in memory at once have together no more elements, but one may.
WHOLE_ELEMENTS = 1 << 25
# Threads pay if blocks are at least this part of a full one on average.
_WORTH_SHARING = 1 / 4


@dataclass(frozen=True)
class Task:
    """One block, elements ``start`` to ``stop``, of the plans' tensor of this number.

    ``index`` is its place among the tensor's.
    """

    number: int
    index: int
    start: int
    stop: int


def tensor_groups(plans: Sequence[Plan]) -> Iterator[Sequence[int]]:
    """Return the numbers of tensors that are measured together before any of them is merged.

    Threads wait for each other after each pass over a group, so a group is several tensors, though
    no more than can be kept.
    """
    tensors = plans[0].tensors
    whole = plans[0].method.granularity is Granularity.TENSORS
    if any(plan.method.over_model(tensor.values) for plan in plans for tensor in plan.tensors) or (
        not whole and not any(plan.method.passes for plan in plans)
    ):
        yield range(len(tensors))
        return
    most = WHOLE_ELEMENTS if whole else GROUP_ELEMENTS
    group: list[int] = []
    elements = 0
    for number, tensor in enumerate(tensors):
        full = elements + tensor.elements > most or len(group) == GROUP_TENSORS
        if group and full:
            yield group
            group, elements = [], 0
        group.append(number)
        elements += tensor.elements
    yield group


def tasks(plan: Plan, numbers: Iterable[int], size: int) -> Iterator[Task]:
    """Return every block of some tensors, each of this many elements or a multiple of it."""
    for number in numbers:
        tensor = plan.tensors[number]
        step = _step(tensor, plan.method.granularity, size)
        for index, (start, stop) in enumerate(block_ranges(tensor.elements, step)):
            yield Task(number, index, start, stop)


def _step(tensor: TensorPlan, granularity: Granularity, size: int) -> int:
    """Return how many elements a method gets at once: blocks that checksums are over, made whole.

    Rows of a power of two are in step with them; others give the whole tensor at worst.
    """
    if tensor.scaled and granularity is Granularity.BLOCKS:
        # A row's scale follows from all of it.
        granularity = Granularity.ROWS
    if tensor.copied or granularity is Granularity.BLOCKS or not tensor.elements:
        return size
    whole = -(-tensor.elements // size) * size
    if granularity is Granularity.TENSORS or not tensor.shape:
        return whole
    return min(whole, math.lcm(tensor.shape[-1], size))


def threads_for(plan: Plan, numbers: Iterable[int], options: Options) -> int:
    """Return how many threads should work on some tensors.

    Python runs one thread at a time, and each operation on a block ends with waiting for a turn.
    With 20,000 tensors of 2,000 elements two threads take half as long again as one.
    """
    sizes = [plan.tensors[number].elements for number in numbers]
    blocks = sum(-(-size // options.block_elements) for size in sizes)
    full = blocks * options.block_elements
    return options.thread_count if sum(sizes) >= full * _WORTH_SHARING else 1
