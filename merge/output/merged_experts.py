"""The experts' part of a merged adapter, as peft's `target_parameters` reads it.

The factors of a layer's experts are one pair, laid out as `merge.lora.expert_factors` says. In the
base's files each expert may have tensors of its own, each with its own share in the merge, so every
tensor scales its own rows and columns of B.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from merge.lora.adapter import load
from merge.lora.adapter_keys import PREFIX, parse_key
from merge.lora.expert_factors import ExpertFactors
from merge.lora.updates import LowRank

if TYPE_CHECKING:
    import torch


@dataclass
class _Scaled:
    """One adapter's pair of factors, its shares in B."""

    a: "torch.Tensor"
    b: "torch.Tensor"
    scaled: "torch.Tensor"


@dataclass
class MergedExperts:
    """The factors of one parameter of experts, of all adapters that update it."""

    experts: int
    dtype: str
    _parts: dict[int, _Scaled] = field(default_factory=dict)

    def add(
        self,
        number: int,
        factors: ExpertFactors,
        share: float,
        changed: Callable[[LowRank], LowRank],
    ) -> None:
        """Add what one adapter says of one tensor.

        Args:
            number: of the adapter.
            factors: what its factors mean for the tensor.
            share: of the update in the merge.
            changed: what the method makes of the update.
        """
        if number not in self._parts:
            a, b = load(factors.a), load(factors.b)
            self._parts[number] = _Scaled(a, b, b.new_zeros(b.shape))
        part = self._parts[number]
        rows = slice(factors.first, factors.first + factors.rows) if factors.rows else slice(None)
        if factors.expert is None:
            part.scaled[rows] = part.b[rows] * (factors.scale * share)
            return
        update = factors.update(part.a, part.b)
        assert isinstance(update, LowRank)
        update = changed(update)
        columns = slice(factors.expert, None, self.experts)
        part.scaled[rows, columns] = update.left * (update.scale * share)

    @property
    def rank(self) -> int:
        """The summed rank of one expert."""
        return sum(len(part.a) for part in self._parts.values()) // self.experts

    def joined(self, rank: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Return A and B of all adapters together, filled up to a rank with zeros."""
        import torch
        from torch.nn.functional import pad

        missing = rank - self.rank
        inputs = [part.a.reshape(self.experts, -1, part.a.shape[1]) for part in self._sorted()]
        a = pad(torch.cat(inputs, dim=1), (0, 0, 0, missing)).flatten(0, 1)
        b = torch.cat([part.scaled for part in self._sorted()], dim=1)
        return a, pad(b, (0, missing * self.experts))

    def _sorted(self) -> Sequence[_Scaled]:
        return [self._parts[number] for number in sorted(self._parts)]


def module_key(factors: ExpertFactors) -> str:
    """Return what stands before `.lora_A.weight` in peft's own key for a parameter's factors."""
    parsed = parse_key(factors.a.name)
    assert parsed is not None, "it was read as a factor"
    return PREFIX + parsed.target
