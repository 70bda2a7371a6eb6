"""A text of the user's own around the question: `wrap=FILE`, with `{question}` in it."""

from safemerge_tasks.attacks.attack import QUESTION, Attack, FileAttack, Turn
from safemerge_tasks.attacks.names import AttackName
from safemerge_tasks.attacks.settings import AttackSettings


class Wrap(FileAttack):
    """Puts the question into a text."""

    def __init__(self, name: AttackName, settings: AttackSettings) -> None:
        super().__init__(name, settings)
        if QUESTION not in self.text:
            raise self.wrong(f"does not say where the question goes; write {QUESTION} there.")

    def turns(self, question: str) -> list[Turn]:
        """Return the text with the question in it; line breaks at its end belong to the file."""
        text = self.text.rstrip("\r\n")
        return [{"role": "user", "content": text.replace(QUESTION, question)}]


def make(name: AttackName, settings: AttackSettings) -> Attack:
    """Return the attack."""
    return Wrap(name, settings)
