"""Another system prompt in place of the suite's and the user's: `system=FILE`, a text file.

PTST, Lyu et al. 2024, arXiv 2402.18540. Under a template without a system role it goes before the
question.
"""

from safemerge_tasks.attacks.attack import Attack, FileAttack
from safemerge_tasks.attacks.names import AttackName
from safemerge_tasks.attacks.settings import AttackSettings


class System(FileAttack):
    """Sends the file's text as the system prompt; line breaks at its end belong to the file."""

    def __init__(self, name: AttackName, settings: AttackSettings) -> None:
        super().__init__(name, settings)
        self.system = self.text.rstrip("\r\n")


def make(name: AttackName, settings: AttackSettings) -> Attack:
    """Return the attack."""
    return System(name, settings)
