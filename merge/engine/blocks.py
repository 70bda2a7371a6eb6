"""The order of the work: which tensors are taken together, their blocks, and by how many."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from merge.engine.options import Options
from merge.engine.plan import Plan
from merge.formats.checksums import block_ranges

GROUP_ELEMENTS = 1 << 24
# What is counted of a tensor may take half a megabyte for each model, however small the tensor is.
GROUP_TENSORS = 64
# Threads pay if blocks are at least this part of a full one on average.
_WORTH_SHARING = 1 / 4


@dataclass(frozen=True)
class Task:
    """One block, elements ``start`` to ``stop``, of the plans' tensor of this number."""

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
    if not any(plan.method.passes for plan in plans) or any(
        plan.method.over_model(tensor.values) for plan in plans for tensor in plan.tensors
    ):
        yield range(len(tensors))
        return
    group: list[int] = []
    elements = 0
    for number, tensor in enumerate(tensors):
        full = elements + tensor.elements > GROUP_ELEMENTS or len(group) == GROUP_TENSORS
        if group and full:
            yield group
            group, elements = [], 0
        group.append(number)
        elements += tensor.elements
    yield group


def tasks(plan: Plan, numbers: Iterable[int], size: int) -> Iterator[Task]:
    """Return every block, of this many elements, of some tensors."""
    for number in numbers:
        for index, (start, stop) in enumerate(block_ranges(plan.tensors[number].elements, size)):
            yield Task(number, index, start, stop)


def threads_for(plan: Plan, numbers: Iterable[int], options: Options) -> int:
    """Return how many threads should work on some tensors.

    Python runs one thread at a time, and each operation on a block ends with waiting for a turn.
    With 20,000 tensors of 2,000 elements two threads take half as long again as one.
    """
    sizes = [plan.tensors[number].elements for number in numbers]
    blocks = sum(-(-size // options.block_elements) for size in sizes)
    full = blocks * options.block_elements
    return options.thread_count if sum(sizes) >= full * _WORTH_SHARING else 1
