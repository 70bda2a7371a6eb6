"""Questions without a system prompt: it decides much of what tuning loses.

PTST, Lyu et al. 2024, arXiv 2402.18540. Neither the suite's nor the user's is sent; a chat template
that writes one of its own where none is given still does.
"""

from safemerge_tasks.attacks.attack import Attack
from safemerge_tasks.attacks.names import AttackName
from safemerge_tasks.attacks.settings import AttackSettings


class NoSystem(Attack):
    """Leaves the system prompt out."""

    system = ""


def make(name: AttackName, settings: AttackSettings) -> Attack:
    """Return the attack."""
    return NoSystem(name, settings)
