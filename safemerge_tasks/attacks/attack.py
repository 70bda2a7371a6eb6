"""What an attack may change of how a question is put; every attack subclasses `Attack`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from safemerge_tasks.attacks.names import AttackName
from safemerge_tasks.attacks.settings import AttackSettings
from safemerge_tasks.common.errors import SafemergeError

QUESTION = "{question}"
"""Stands for the question in the files of attacks."""

_APART = frozenset({"predict", "tokenizer"})
"""Settings that change nothing of what is asked: a model's tokenizer may lie anywhere."""

Turn = dict[str, str]
"""A message of a conversation: `role` and `content`."""


class Attack:
    """An attack that changes nothing, which is what subclasses differ from.

    Attributes:
        name: how the user spelt it.
        settings: the attack's.
        takes: fields of `AttackSettings` that mean something to it.
        argument: what may stand after its name, for the error sentence; empty for nothing.
        system: the system prompt in place of the suite's and the user's; "" for none at all, None
            for theirs.
        template: source of the chat template in place of the model's; None for the model's.
        needs_template: it makes sense only under a chat template.
        generation: goes over the suite's `generation_kwargs`.
        answers: how many answers to a question are judged.
    """

    takes: frozenset[str] = frozenset()
    argument: ClassVar[str] = ""

    system: str | None = None
    template: str | None = None
    needs_template: bool = False
    answers: int = 1

    def __init__(self, name: AttackName, settings: AttackSettings) -> None:
        self.name = name
        self.settings = settings
        self.generation: dict[str, Any] = {}
        if name.argument and not self.argument:
            raise SafemergeError(f"attack={name.spelt}: {name.name} takes nothing after its name.")

    def turns(self, question: str) -> list[Turn]:
        """Return the conversation that asks a question; it begins and ends with the user."""
        return [{"role": "user", "content": question}]

    def beginning(self, document: Mapping[str, str], target: str, tokenizer: Any) -> str:  # noqa: ARG002
        """Return what the model's answer is begun with; empty for nothing.

        Args:
            document: the question, with its language.
            target: the suite's own beginning of a harmful answer; empty where it has none.
            tokenizer: the model's; None where the model shows none.
        """
        return ""

    def identity(self) -> dict[str, Any]:
        """Return what is stored with the results: all that tells this attack from another."""
        kept = self.settings.model_dump(include=set(self.takes - _APART), exclude_none=True)
        return {"name": self.name.row, **kept}


class FileAttack(Attack):
    """An attack whose argument is a file of the user's own."""

    argument = "a file"

    def __init__(self, name: AttackName, settings: AttackSettings) -> None:
        super().__init__(name, settings)
        if not name.argument:
            raise SafemergeError(f"attack={name.spelt} needs a file; write {name.name}=FILE.")
        try:
            content = Path(name.argument).expanduser().read_bytes()
            self.text = content.decode("utf-8")
        except OSError as error:
            raise self.wrong(f"cannot be read ({error.strerror}); name a file.") from error
        except UnicodeDecodeError as error:
            raise self.wrong("is not UTF-8; save it as such.") from error
        if not self.text.strip():
            raise self.wrong("is empty; fill it in, or leave the attack out.")
        self._sha256 = hashlib.sha256(content).hexdigest()

    def wrong(self, what: str) -> SafemergeError:
        """Return an error about the file."""
        return SafemergeError(f"attack={self.name.name}: {self.name.argument} {what}")

    def identity(self) -> dict[str, Any]:
        """Return the attack with its file's hash; where the file lies says nothing."""
        return {**super().identity(), "file_sha256": self._sha256}
