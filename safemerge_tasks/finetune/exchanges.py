"""What is learnt from: conversations that end with the response to learn."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from safemerge_tasks.suites.conversation import WITHOUT_ROLE

Turn = dict[str, str]
"""`role` and `content`."""


@dataclass(frozen=True)
class Exchange:
    """A conversation and its last response, the only part that is learnt.

    Attributes:
        turns: what comes before the response; a system prompt, if the row has its own, comes first.
        response: the text to learn.
        place: where it stands in its source, for errors.
    """

    turns: tuple[Turn, ...]
    response: str
    place: str

    @cached_property
    def question(self) -> str:
        """Return what comes before the response as one text: equal ones have equal prompts."""
        return json.dumps(self.turns, ensure_ascii=False)


@dataclass(frozen=True)
class TuningData:
    """The rows of one fine-tuning.

    Attributes:
        name: the task, or the file's name.
        system_prompt: for the exchanges that have none of their own.
        split_seed: what divided training from validation rows.
        left_out: rows that are not trained on because a validation row asks the same.
        folded: what goes before the question where a chat template has no system role; else the
            system prompt and a space.
    """

    name: str
    train: Sequence[Exchange]
    validation: Sequence[Exchange]
    system_prompt: str
    split_seed: int
    left_out: int = 0
    folded: str | None = None

    def identity(self) -> dict[str, Any]:
        """Return what the data is, whatever it is called and wherever it lies."""
        return {
            "rows": len(self.train),
            "validation_rows": len(self.validation),
            "left_out": self.left_out,
            "split_seed": self.split_seed,
            "system_prompt": self.system_prompt,
            **({} if self.folded is None else {WITHOUT_ROLE: self.folded}),
            "sha256": _digest(self.train),
            "validation_sha256": _digest(self.validation),
        }


def without_repeats(
    train: Sequence[Exchange], validation: Sequence[Exchange]
) -> tuple[list[Exchange], int]:
    """Return the training rows that ask nothing a validation row asks, and how many do."""
    held = {exchange.question for exchange in validation}
    kept = [exchange for exchange in train if exchange.question not in held]
    return kept, len(train) - len(kept)


def _digest(exchanges: Sequence[Exchange]) -> str:
    digest = hashlib.sha256()
    for exchange in exchanges:
        row = json.dumps([exchange.turns, exchange.response], ensure_ascii=False)
        digest.update(row.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
