"""What every engine offers, and how one is opened by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from safemerge_tasks.judges.settings import JudgeSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Completion:
    """A judge model's words, or why there are none; exactly one is set."""

    text: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class NextToken:
    """How likely each of some tokens is to come next, or why that is not known; one is set."""

    logprobs: tuple[float, ...] | None = None
    """Natural logarithms, in the order of the tokens asked for; -inf for one left out."""
    error: str | None = None


class Engine(Protocol):
    """A language model that answers greedily.

    Prompts are token ids, not text: text would be tokenised again, and what the model under test
    wrote could turn into control tokens.
    """

    tokenizer: "PreTrainedTokenizerBase"
    max_model_len: int

    def answer(self, prompts: Sequence[list[int]], max_new_tokens: int) -> list[Completion]:
        """Return one answer a prompt, in order, decoded at temperature 0."""
        ...

    def weigh(self, prompts: Sequence[list[int]], tokens: Sequence[int]) -> list[NextToken]:
        """Return how likely each of `tokens` is right after each prompt, nothing masked."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what identifies the engine and its weights, for the results."""
        ...

    def close(self) -> None:
        """Free the memory; safe to call twice, and from another thread to abort `answer`."""
        ...


def open_engine(settings: JudgeSettings, model: str) -> Engine:
    """Start the engine that `settings` name with the weights `model`.

    Raises:
        SafemergeError: the weights cannot be had, or the engine is not installed.
    """
    module = import_module(f"safemerge_tasks.judges.engines.{settings.engine}")
    engine: Engine = module.open_engine(settings, model)
    return engine
