"""Tasks that put the same questions in other ways, as results name them: `suite@attack`."""

from typing import NamedTuple

from safemerge_tasks.attacks.names import BETWEEN, PLAIN


class Attacked(NamedTuple):
    """A task's name, taken apart.

    Attributes:
        suite: the task that asks plainly.
        attack: how it is asked, `plain` where nothing is said.
    """

    suite: str
    attack: str


def attacked(task: str) -> Attacked:
    """Return which suite a task asks, and under which attack.

    Two tasks of a suite ask the same questions, so what they find is not independent.
    """
    suite, _, attack = task.partition(BETWEEN)
    return Attacked(suite, attack or PLAIN)
