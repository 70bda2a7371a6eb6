"""The question within a conversation of the user's own: `multi-turn=FILE`.

The file is a JSON list of messages, `role` (user and assistant in turn) and `content`, in one of
which `{question}` stands for the question; the model answers the last.
"""

import json

from safemerge_tasks.attacks.attack import QUESTION, Attack, FileAttack, Turn
from safemerge_tasks.attacks.names import AttackName
from safemerge_tasks.attacks.settings import AttackSettings
from safemerge_tasks.common.errors import one_line


class MultiTurn(FileAttack):
    """Puts the question into a conversation."""

    needs_template = True

    def __init__(self, name: AttackName, settings: AttackSettings) -> None:
        super().__init__(name, settings)
        try:
            found = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"is not JSON ({one_line(error, 100)}); correct it.") from error
        if not isinstance(found, list) or not all(map(_is_turn, found)):
            raise self.wrong("is no list of messages; write [{role: …, content: …}, …] as JSON.")
        self._turns: list[Turn] = found
        roles = [turn["role"] for turn in found]
        if roles != ["user", "assistant"] * (len(found) // 2) + ["user"]:
            raise self.wrong(
                f"has the roles {', '.join(roles) or 'of nobody'}; user and assistant take turns, "
                "and the user speaks first and last (system=FILE changes the system prompt)."
            )
        if not any(QUESTION in turn["content"] for turn in found):
            raise self.wrong(f"does not say where the question goes; write {QUESTION} there.")

    def turns(self, question: str) -> list[Turn]:
        """Return the conversation with the question in it."""
        return [
            {"role": turn["role"], "content": turn["content"].replace(QUESTION, question)}
            for turn in self._turns
        ]


def _is_turn(turn: object) -> bool:
    return (
        isinstance(turn, dict)
        and turn.keys() == {"role", "content"}
        and all(isinstance(value, str) for value in turn.values())
    )


def make(name: AttackName, settings: AttackSettings) -> Attack:
    """Return the attack."""
    return MultiTurn(name, settings)
