"""One tensor of every input of a merge, by the role the input plays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
            one, as for a difference, they are zero.
        difference: whether it is a saved difference of weights, and no model's.
    """

    stored: StoredTensor
    adapter: Adapter | None = None
    name: str = ""
    filler: StoredTensor | None = None
    difference: bool = False

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
        roles: what else the method takes, by the names that it declares.
    """

    base: InputTensor | None
    tuned: tuple[InputTensor, ...]
    roles: Mapping[str, InputTensor] = field(default_factory=dict)

    def models(self) -> list[InputTensor]:
        """Return every operand that is a model's."""
        return [operand for operand in self.all() if not operand.difference]

    def all(self) -> list[InputTensor]:
        """Return every operand that is there."""
        base = [] if self.base is None else [self.base]
        return [*base, *self.tuned, *self.roles.values()]
