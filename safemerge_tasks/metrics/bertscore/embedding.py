"""A text as BERTScore sees it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Embedding:
    """The tokens of one text.

    Attributes:
        vectors: float32 `[tokens, dimensions]`, on the CPU, not normalised.
        weights: float32 `[tokens]`: 0 for the tokens that frame a text, 1 for its words.
    """

    vectors: "torch.Tensor"
    weights: "torch.Tensor"

    @property
    def has_words(self) -> bool:
        """Whether there is anything to compare."""
        return bool(self.weights.sum() > 0)
