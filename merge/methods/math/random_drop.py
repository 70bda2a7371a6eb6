"""DARE: drop entries of a delta at random and rescale the rest."""

from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.float_bits import float_bits
from merge.methods.math.random_bits import keep_mask
from merge.methods.parameters import Parameters

if TYPE_CHECKING:
    import torch


class Rescaling(Parameters):
    """Whether what is kept makes up for what is dropped."""

    rescale: bool = Field(True, description="divide the entries that are kept by 1 - drop_rate")


class Dropped(Parameters):
    """What each fine-tuned model may have of its own."""

    drop_rate: float = Field(
        ge=0.0, le=0.999, description="probability that an entry of a delta is dropped"
    )


def drop(block: Block, number: int, drop_rate: float) -> "torch.Tensor":
    """Return the delta of one fine-tuned model with entries dropped, not yet rescaled.

    Kept entries have to be divided by `1 - drop_rate` (Yu et al. 2023, 2311.03099), which the
    caller does together with its own factors.
    """
    delta = block.deltas[number]
    if drop_rate == 0:
        return delta
    mask = keep_mask(
        block.seed, block.name, number, block.start, block.stop, drop_rate, str(delta.device)
    )
    bits = float_bits(delta)
    return mask.to(bits.dtype).bitwise_and_(bits).view(delta.dtype)
