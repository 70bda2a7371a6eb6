"""How an attack is found by its name: a file beside this one, or one from another package."""

from pathlib import Path
from typing import Any

from safemerge_tasks.attacks.names import PLAIN, AttackName
from safemerge_tasks.common.named_modules import NamedModules
from safemerge_tasks.common.own_module import load_own_module

ENTRY_POINTS = "safemerge.attacks"
"""The group in which other packages name the modules of their attacks."""

_ATTACKS = NamedModules(
    package="safemerge_tasks.attacks",
    folder=Path(__file__).parent,
    group=ENTRY_POINTS,
    key="attack",
    make="def make(name",
    own="path/to/attack.py:make",
)


def attack_names() -> list[str]:
    """Return the names that `attack=` accepts; nothing is imported."""
    return sorted({PLAIN, *_ATTACKS.names()})


def attack_module(name: AttackName) -> Any:
    """Return the module of an attack.

    It is a file of the user's own, or found as `NamedModules` says, and has a function
    `make(name: AttackName, settings: AttackSettings) -> Attack`.

    Raises:
        SafemergeError: there is no such attack, or its module does not make one.
    """
    if name.function:
        return load_own_module(
            name.name, name.function, "attack", "an attack", "attack=attacks/mine.py:make"
        )
    return _ATTACKS.load(name.name, name.spelt, attack_names())
