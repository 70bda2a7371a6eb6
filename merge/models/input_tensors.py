"""One tensor of every input of a merge, by the role the input plays."""

from dataclasses import dataclass
from functools import cached_property

from merge.formats.stored_tensor import StoredTensor
from merge.lora.adapter import Adapter
from merge.lora.updates import Update

# What a tensor's values depend on.
Identity = tuple[StoredTensor, StoredTensor | None, int, str]


@dataclass(frozen=True)
class InputTensor:
    """One input's tensor: stored, or stored plus an adapter's update.

    Attributes:
        stored: the tensor in its file.
        adapter: the adapter that updates it.
        name: the adapter's name for it.
        filler: where rows beyond the stored ones are taken from, if the output has more; without
            one, as for a safety vector, they are zero.
    """

    stored: StoredTensor
    adapter: Adapter | None = None
    name: str = ""
    filler: StoredTensor | None = None

    @property
    def identity(self) -> Identity:
        """What its values depend on: the same for two merges of the same inputs."""
        return self.stored, self.filler, id(self.adapter), self.name

    @cached_property
    def update(self) -> Update | None:
        """The adapter's part, read once."""
        if self.adapter is None:
            return None
        return self.adapter.read_update(self.name, self.stored)

    def forget(self) -> None:
        """Drop the adapter's part; it is read again if it is asked for again."""
        self.__dict__.pop("update", None)


@dataclass(frozen=True)
class InputTensors:
    """One tensor of every input, by the role the input plays.

    Attributes:
        base: the model merged toward; None for methods without one.
        tuned: the fine-tuned models, in the recipe's order.
        aligned, unaligned: the two ends of a safety vector.
        vector: a safety vector saved before.
        safe: a model that was fine-tuned to be safe.
    """

    base: InputTensor | None
    tuned: tuple[InputTensor, ...]
    aligned: InputTensor | None = None
    unaligned: InputTensor | None = None
    vector: InputTensor | None = None
    safe: InputTensor | None = None

    def models(self) -> list[InputTensor]:
        """Return every model's operand that is there."""
        named = (self.base, *self.tuned, self.aligned, self.unaligned, self.safe)
        return [operand for operand in named if operand is not None]

    def all(self) -> list[InputTensor]:
        """Return every operand that is there."""
        return self.models() if self.vector is None else [*self.models(), self.vector]
