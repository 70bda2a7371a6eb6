"""What a method computes on: one block of one tensor, from every input of the merge.

A method names what it needs and nothing is read twice.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from merge.lora.updates import LowRank
from merge.methods.roles import ALIGNED, UNALIGNED, VECTOR
from merge.models.block_reads import Reads
from merge.models.input_tensors import InputTensor, InputTensors

if TYPE_CHECKING:
    import torch


# Returns what was kept under a name, tensor and first element, or computes it and may keep it.
Keep = Callable[[tuple[str, str, int], "Callable[[], torch.Tensor]"], "torch.Tensor"]


class Block:
    """What one merge computes on: a block of one tensor, from every input of its own.

    They are flat and in float32, or float64 where that is how the base stores the tensor. The
    tensors a method gets from here are shared: it must not change them in place.
    """

    def __init__(
        self,
        name: str,
        operands: InputTensors,
        reads: Reads,
        *,
        seed: int,
        elements: int,
        keep: Keep | None = None,
    ) -> None:
        self.name = name
        self.start = reads.start
        self.stop = reads.stop
        self.seed = seed
        self.elements = elements
        self._operands = operands
        self._reads = reads
        self._keep = keep

    @property
    def is_whole(self) -> bool:
        """Whether the block is all of the output's tensor."""
        return self.stop - self.start == self.elements

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole tensor's shape."""
        return _present(self._operands.base).stored.shape

    @property
    def low_rank(self) -> LowRank | None:
        """The one fine-tuned model's LoRA update of this tensor, or None if it has none."""
        update = self._operands.tuned[0].update
        return update if isinstance(update, LowRank) else None

    @property
    def base(self) -> "torch.Tensor":
        """The base's weights."""
        return self._reads.weight(_present(self._operands.base))

    @property
    def tuned(self) -> "list[torch.Tensor]":
        """Each fine-tuned model's weights."""
        return [self._reads.weight(operand) for operand in self._operands.tuned]

    def once(self, what: str, compute: "Callable[[], torch.Tensor]") -> "torch.Tensor":
        """Return what an earlier pass over this block computed under this name, or compute it.

        Whether it is kept depends on memory alone. It must not be changed in place.
        """
        if self._keep is None:
            return compute()
        return self._keep((what, self.name, self.start), compute)

    @property
    def deltas(self) -> "list[torch.Tensor]":
        """Each fine-tuned model's weights minus the base's."""
        base = _present(self._operands.base)
        return [self._reads.difference(operand, base) for operand in self._operands.tuned]

    def has_role(self, name: str) -> bool:
        """Whether the recipe names a model for a role, which need not be if it is optional."""
        return name in self._operands.roles

    def role(self, name: str) -> "torch.Tensor":
        """The weights of the model that plays a role; of a saved difference, that."""
        return self._reads.weight(_present(self._operands.roles.get(name)))

    def role_delta(self, name: str) -> "torch.Tensor":
        """The weights of the model that plays a role, minus the base's."""
        return self._reads.difference(
            _present(self._operands.roles.get(name)), _present(self._operands.base)
        )

    @property
    def safety_vector(self) -> "torch.Tensor":
        """The aligned model's weights minus the unaligned model's, or the saved vector."""
        if self.has_role(VECTOR.name):
            return self.role(VECTOR.name)
        aligned, unaligned = (self._operands.roles.get(r.name) for r in (ALIGNED, UNALIGNED))
        return self._reads.difference(_present(aligned), _present(unaligned))


def _present(operand: InputTensor | None) -> InputTensor:
    assert operand is not None, "a method used a role it did not declare"
    return operand
