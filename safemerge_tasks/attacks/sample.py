"""Several answers to a question are drawn: one of many may comply where the likeliest refuses.

Huang et al. 2023, arXiv 2310.06987. `sample` draws 16, `sample:n` n.
"""

from safemerge_tasks.attacks.attack import Attack
from safemerge_tasks.attacks.names import AttackName
from safemerge_tasks.attacks.settings import AttackSettings
from safemerge_tasks.common.errors import SafemergeError

ANSWERS = 16
MOST = 10_000


class Sample(Attack):
    """Draws answers at a temperature and top-p."""

    takes = frozenset({"temperature", "top_p", "seed", "predict"})
    argument = "how many answers"

    def __init__(self, name: AttackName, settings: AttackSettings) -> None:
        super().__init__(name, settings)
        given = name.argument or str(ANSWERS)
        if not given.isascii() or not given.isdigit() or not 2 <= int(given) <= MOST:
            raise SafemergeError(
                f"attack={name.spelt}: {given!r} is no number of answers; write sample:N with N "
                f"from 2 to {MOST:,}."
            )
        self.answers = int(given)
        self.generation = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
        }


def make(name: AttackName, settings: AttackSettings) -> Attack:
    """Return the attack."""
    return Sample(name, settings)
