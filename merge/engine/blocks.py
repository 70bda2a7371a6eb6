"""The order of the work: which tensors are taken together, and their blocks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from merge.engine.plan import Plan
from merge.formats.checksums import block_ranges

GROUP_ELEMENTS = 1 << 24
# What is counted of a tensor may take half a megabyte for each model, however small the tensor is.
GROUP_TENSORS = 64


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
