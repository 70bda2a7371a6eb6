"""A question as a prompt, with its system prompt, for chat templates with and without that role."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

_log = logging.getLogger(__name__)

APPLIED = "applied"
OMITTED = "omitted: the chat template has no system role"
FOLDED = "put before the question: the chat template has no system role"
NO_TEMPLATE = "no chat template applied"

WITHOUT_ROLE = "without_system_role"
"""The key of a task's `metadata` that says what goes before the question instead."""


def folded_prompt(metadata: Mapping[str, Any], description: str) -> str:
    """Return what a task puts before the question where the chat template has no system role.

    Its metadata's `without_system_role`, to the byte; else the system prompt and a space.
    """
    given = metadata.get(WITHOUT_ROLE)
    if given is None:
        return f"{description} " if description else ""
    return str(given)


class Conversation:
    """Renders questions with one system prompt and remembers what became of it.

    Templates without a system role drop it or raise. What Farn et al. 2024 (arXiv 2412.19512) then
    do for Gemma is done here: what of it belongs to the task goes before the question, as `folded`
    says, the rest is left out; one that the user gave is put before the question with a space.
    Neither happens silently.

    Args:
        task: for warnings.
        description: the system prompt.
        folded: what goes before the question where there is no system role, with the white space
            between them.
    """

    def __init__(self, task: str, description: str, folded: str = "") -> None:
        self.task = task
        self.description = description
        self.folded = folded
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
            question = self.folded + turns[0]["content"]
            folded = f"{instruction} {question}" if instruction else question
            return [_message("user", folded), *turns[1:]]
        return turns

    def _probe(
        self,
        chat_template: Callable[[list[dict[str, str]]], Any],
        system: str,
        instruction: str | None,
    ) -> str:
        try:
            rendered = str(chat_template([_message("system", system), _message("user", "Hello")]))
        except Exception:  # whatever a template's own code raises; without the role it may not
            rendered = ""
        if system in rendered or json.dumps(system)[1:-1] in rendered:
            return APPLIED
        state = FOLDED if instruction or self.folded else OMITTED
        _log.warning("%s: the system prompt is %s.", self.task, state)
        return state


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
