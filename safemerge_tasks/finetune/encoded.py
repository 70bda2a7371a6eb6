"""The rows of a fine-tuning as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.base import Base
from safemerge_tasks.finetune.config import FinetuneConfig
from safemerge_tasks.finetune.data import load_data
from safemerge_tasks.finetune.exchanges import TuningData
from safemerge_tasks.finetune.rendering import Encoded, Renderer


@dataclass(frozen=True)
class EncodedData:
    """Training and validation rows as token ids.

    Attributes:
        train: rows to learn from, at least one.
        validation: rows for the validation loss.
        cut: training rows that lost the end of their response.
        dropped: training rows left out because their prompt alone fills the cut-off length.
        system_prompt: what became of the system prompt in the chat template.
    """

    train: Sequence[Encoded]
    validation: Sequence[Encoded]
    cut: int
    dropped: int
    system_prompt: str


def encode_data(config: FinetuneConfig, seed: int, base: Base) -> EncodedData:
    """Return the rows of the fine-tuning of one seed.

    Raises:
        SafemergeError: rows or chat template are wrong, or no row is short enough.
    """
    data = load_data(config, seed)
    found = _encoded(_Same(data), base, config.cutoff_length)
    if not found.train:
        raise SafemergeError(
            f"{data.name}: every prompt fills cutoff_length {config.cutoff_length}; raise it."
        )
    return found


class _Same:
    """Data that is equal if it is the same object, as `load_data` gives the same to most seeds."""

    def __init__(self, data: TuningData) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.data is other.data

    def __hash__(self) -> int:
        return id(self.data)


@lru_cache(maxsize=2)
def _encoded(same: _Same, base: Base, cutoff: int) -> EncodedData:
    data = same.data
    renderer = Renderer(
        base.tokenizer, base.path, base.stop_ids(), data.system_prompt, data.name, data.folded
    )
    train = renderer.encoded(data.train, cutoff)
    validation = renderer.encoded(data.validation, cutoff)
    return EncodedData(train.rows, validation.rows, train.cut, train.dropped, renderer.outcome)
