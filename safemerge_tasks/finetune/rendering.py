"""Exchanges as token ids: the prompt exactly as lm-eval sends it, then the response to learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.exchanges import Exchange, Turn
from safemerge_tasks.suites.conversation import WITHOUT_ROLE, Conversation, folded_prompt

IGNORED = -100
"""The label of a token that has no part in the loss."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of a prompt and its response; the loss is taken from `start` on."""

    ids: list[int]
    start: int

    @property
    def labels(self) -> list[int]:
        """Return the ids of the response, and nothing to learn elsewhere."""
        return [IGNORED] * self.start + self.ids[self.start :]


@dataclass(frozen=True)
class Encoding:
    """All rows of one part.

    Attributes:
        rows: what is left, cut to the cut-off length.
        cut: how many of them lost the end of their response.
        dropped: how many are left out, because their prompt alone fills the cut-off length.
    """

    rows: Sequence[Encoded]
    cut: int
    dropped: int


class Renderer:
    """Renders exchanges in one model's own chat template.

    Args:
        tokenizer: the model's.
        name: of the model, for errors.
        ends: token ids that end a response, beside the tokenizer's special tokens.
        system_prompt: for the exchanges that have none of their own.
        task: for warnings.
        folded: what goes before the question where the template has no system role; else the
            system prompt and a space.
    """

    def __init__(
        self,
        tokenizer: Any,
        name: str,
        ends: Sequence[int],
        system_prompt: str,
        task: str,
        folded: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.name = name
        self.task = task
        self.ends = {*ends, *tokenizer.all_special_ids}
        self.stop = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(ends)
        self.conversations = {system_prompt: self._conversation(system_prompt, folded)}
        self.system_prompt = system_prompt
        if not tokenizer.chat_template:
            raise SafemergeError(
                f"{name} has no chat template, so nothing says how its prompts look; fine-tune a "
                "chat model, or put its template into the tokenizer's folder."
            )

    def _conversation(self, system_prompt: str, folded: str | None = None) -> Conversation:
        given = {WITHOUT_ROLE: folded}
        return Conversation(self.task, system_prompt, folded_prompt(given, system_prompt))

    @property
    def outcome(self) -> str:
        """What became of the system prompt; that of the rows without one of their own."""
        return self.conversations[self.system_prompt].system_prompt

    def encoded(self, exchanges: Sequence[Exchange], cutoff: int) -> Encoding:
        """Return the exchanges as token ids, at most `cutoff` each, the end of a response cut."""
        whole = [self.encode(exchange) for exchange in exchanges]
        kept = [one for one in whole if one.start < cutoff]
        rows = [Encoded(one.ids[:cutoff], one.start) for one in kept]
        cut = sum(len(one.ids) > cutoff for one in kept)
        return Encoding(rows, cut, len(whole) - len(kept))

    def encode(self, exchange: Exchange) -> Encoded:
        """Return one exchange as token ids, uncut; its response ends with the end of a turn.

        Raises:
            SafemergeError: the chat template does not take the exchange, or renders its response
                elsewhere than where generation begins.
        """
        turns = self._turns(exchange)
        prompt = self.prompt(turns, exchange.place)
        answer: Turn = {"role": "assistant", "content": exchange.response}
        whole = self._applied([*turns, answer], exchange.place, generating=False)
        if not whole.startswith(prompt):
            raise SafemergeError(
                f"The chat template of {self.name} renders the response of {exchange.place} "
                "elsewhere than where generation begins; fine-tune with a template that does not."
            )
        head = self.prompt_ids(prompt)
        joint = self.prompt_ids(whole)
        # Where a token spans both, the prompt's ids stay those of generation.
        tail = (
            joint[len(head) :]
            if joint[: len(head)] == head
            else self._ids(whole[len(prompt) :], special=False)
        )
        return Encoded(head + self._ended(tail), len(head))

    def prompt(self, turns: list[Turn], place: str) -> str:
        """Return the text that the model is to continue."""
        return self._applied(turns, place, generating=True)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return a prompt's token ids as lm-eval makes them: no second beginning of text."""
        bos = self.tokenizer.bos_token
        return self._ids(prompt, special=not (bos and prompt.startswith(bos)))

    def _turns(self, exchange: Exchange) -> list[Turn]:
        turns = list(exchange.turns)
        system = self.system_prompt
        if turns[0]["role"] == "system":
            system = turns.pop(0)["content"]
        if system not in self.conversations:
            self.conversations[system] = self._conversation(system)

        def template(messages: list[Turn]) -> str:
            return self.prompt(messages, exchange.place)

        return self.conversations[system].turns(template, turns)

    def _applied(self, turns: list[Turn], place: str, *, generating: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            try:
                text = self._rendered(turns, generating=generating)
            except TemplateError:
                # As lm-eval does; `Conversation` then says so and folds the system prompt.
                bare = [turn for turn in turns if turn["role"] != "system"]
                text = self._rendered(bare, generating=generating)
        except TemplateError as error:
            raise SafemergeError(
                f"The chat template of {self.name} does not take {place} ({error}); correct it."
            ) from error
        return text

    def _rendered(self, turns: list[Turn], *, generating: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=generating
        )
        return text

    def _ids(self, text: str, *, special: bool) -> list[int]:
        # Only "no special tokens" is said, as in lm-eval: else the tokenizer's own default holds.
        options: dict[str, Any] = {} if special else {"add_special_tokens": False}
        ids: list[int] = self.tokenizer(text, return_attention_mask=False, **options)["input_ids"]
        return ids

    def _ended(self, tail: list[int]) -> list[int]:
        """Return a response up to its end of turn; what a template writes after it is left."""
        last = max((place for place, one in enumerate(tail) if one in self.ends), default=None)
        if last is not None and not self._text(tail[last + 1 :]).strip():
            return tail[: last + 1]
        # The template marks no end of turn: white space goes, and the model's own end is put.
        text, end = self._text(tail).rstrip(), len(tail)
        while end and self._text(tail[: end - 1]).startswith(text):
            end -= 1
        return [*tail[:end], self.stop]

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids)) if ids else ""
