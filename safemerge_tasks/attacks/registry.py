"""How an attack is found by its name: a file beside this one, or one from another package."""

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from safemerge_tasks.attacks.names import PLAIN, AttackName
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.own_module import load_own_module

ENTRY_POINTS = "safemerge.attacks"
"""The group in which other packages name the modules of their attacks."""


def attack_names() -> list[str]:
    """Return the names that `attack=` accepts; nothing is imported."""
    others = (point.name for point in entry_points(group=ENTRY_POINTS))
    return sorted({PLAIN, *_packaged(), *others})


def attack_module(name: AttackName) -> Any:
    """Return the module of an attack.

    An attack named `my-attack` is a module `attacks/my_attack.py`, or any module that another
    package names in its metadata as `my-attack = "my_package.my_module"`; ours win. The module has
    a function `make(name: AttackName, settings: AttackSettings) -> Attack`.

    Raises:
        SafemergeError: there is no such attack, or its module does not make one.
    """
    if name.function:
        return load_own_module(
            name.name, name.function, "attack", "an attack", "attack=attacks/mine.py:make"
        )
    if name.name in _packaged():
        return import_module(f"{__package__}.{name.name.replace('-', '_')}")
    found = tuple(entry_points(group=ENTRY_POINTS, name=name.name))
    if not found:
        raise SafemergeError(
            f"attack={name.spelt} is unknown; choose from {', '.join(attack_names())}, or name a "
            "file of your own as in path/to/attack.py:make."
        )
    try:
        module = found[0].load()
    except (ImportError, AttributeError) as error:
        raise SafemergeError(
            f"attack={name.name} is {found[0].value}, which cannot be imported ({error}); install "
            "it again."
        ) from error
    if not callable(getattr(module, "make", None)):
        raise SafemergeError(
            f"attack={name.name} is {found[0].value}, which has no function `make`."
        )
    return module


def _packaged() -> list[str]:
    folder = Path(__file__).parent
    modules = (module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)
    return [
        name.replace("_", "-")
        for name in modules
        if "\ndef make(name" in (folder / f"{name}.py").read_text(encoding="utf-8")
    ]
