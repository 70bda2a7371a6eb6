"""Ways to put a suite's questions other than to ask politely, once: one file an attack.

All are published evaluation attacks (PTST, arXiv 2402.18540; prefilling, 2406.05946; sampling,
2310.06987); texts that they need are the user's own.
"""

from safemerge_tasks.attacks.attack import QUESTION, Attack, Turn
from safemerge_tasks.attacks.make import attacking, make_attack, refuse_settings_of_none
from safemerge_tasks.attacks.names import PLAIN, AttackName
from safemerge_tasks.attacks.registry import attack_names
from safemerge_tasks.attacks.settings import AttackSettings

__all__ = [
    "PLAIN",
    "QUESTION",
    "Attack",
    "AttackName",
    "AttackSettings",
    "Turn",
    "attack_names",
    "attacking",
    "make_attack",
    "refuse_settings_of_none",
]
