"""A question as a prompt, with its system prompt, for chat templates with and without that role."""

import json
import logging
from collections.abc import Callable
from typing import Any

_log = logging.getLogger(__name__)

APPLIED = "applied"
OMITTED = "omitted: the chat template has no system role"
FOLDED = "put before the question: the chat template has no system role"
NO_TEMPLATE = "no chat template applied"


class Conversation:
    """Renders questions with one system prompt and remembers what became of it.

    Templates without a system role drop it or raise. What Farn et al. 2024 (arXiv 2412.19512) then
    do for Gemma is done here: a suite's own system prompt is left out, but one that belongs to the
    task, as ChatDoctor's, or that the user gave, is put before the question with a space. Neither
    happens silently.
    """

    def __init__(self, task: str, description: str, *, belongs_to_task: bool = False) -> None:
        self.task = task
        self.description = description
        self.belongs_to_task = belongs_to_task
        self.system_prompt = NO_TEMPLATE

    def plain(self, question: str, instruction: str | None) -> str:
        """Return the prompt for a model without a chat template."""
        return "\n\n".join(part for part in (instruction, self.description, question) if part)

    def render(
        self,
        chat_template: Callable[[list[dict[str, str]]], Any],
        question: str,
        instruction: str | None,
    ) -> Any:
        """Return what the chat template makes of the question.

        Args:
            chat_template: from messages to the model's prompt; lm-eval's own kind of string.
            question: the user's turn.
            instruction: the user's `--system_instruction`.
        """
        return chat_template(self.turns(chat_template, [_message("user", question)], instruction))

    def turns(
        self,
        chat_template: Callable[[list[dict[str, str]]], Any],
        turns: list[dict[str, str]],
        instruction: str | None = None,
    ) -> list[dict[str, str]]:
        """Return a conversation with its system prompt where the chat template keeps it.

        Args:
            chat_template: from messages to the model's prompt.
            turns: begins with the user's; `role` and `content` each.
            instruction: the user's `--system_instruction`.
        """
        system = "\n\n".join(part for part in (instruction, self.description) if part)
        if not system:
            return turns
        if self.system_prompt == NO_TEMPLATE:
            self.system_prompt = self._probe(chat_template, system, instruction)
        if self.system_prompt == APPLIED:
            return [_message("system", system), *turns]
        if self.system_prompt == FOLDED:
            kept = self.description if self.belongs_to_task else None
            question = turns[0]["content"]
            folded = " ".join(part for part in (instruction, kept, question) if part)
            return [_message("user", folded), *turns[1:]]
        return turns

    def _probe(
        self,
        chat_template: Callable[[list[dict[str, str]]], Any],
        system: str,
        instruction: str | None,
    ) -> str:
        rendered = str(chat_template([_message("system", system), _message("user", "Hello")]))
        if system in rendered or json.dumps(system)[1:-1] in rendered:
            return APPLIED
        state = FOLDED if instruction or self.belongs_to_task else OMITTED
        _log.warning("%s: the system prompt is %s.", self.task, state)
        return state


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
