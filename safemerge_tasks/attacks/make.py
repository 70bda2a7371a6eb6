"""From settings to the attack that they name."""

from collections.abc import Mapping, Sequence
from typing import Any

from safemerge_tasks.attacks.attack import Attack
from safemerge_tasks.attacks.names import PLAIN, AttackName
from safemerge_tasks.attacks.registry import attack_module
from safemerge_tasks.attacks.settings import AttackSettings
from safemerge_tasks.common.errors import SafemergeError


def make_attack(settings: AttackSettings) -> Attack | None:
    """Return the attack that settings name; None for plain questions.

    Raises:
        SafemergeError: there is no such attack, its argument is none, or settings were given that
            mean nothing to it.
    """
    name = AttackName.read(settings.name)
    if name.spelt == PLAIN:
        _refuse_unused(settings, frozenset())
        return None
    module = attack_module(name)
    attack = getattr(module, name.function or "make")(name, settings)
    if not isinstance(attack, Attack):
        raise SafemergeError(
            f"attack={name.spelt} made a {type(attack).__name__}; subclass Attack of "
            "safemerge_tasks.attacks."
        )
    _refuse_unused(settings, attack.takes)
    return attack


def _refuse_unused(settings: AttackSettings, takes: frozenset[str]) -> None:
    unused = settings.model_fields_set - takes - {"name"}
    if unused:
        raise SafemergeError(
            f"{settings.key_of(sorted(unused)[0])} means nothing to attack={settings.name}; leave "
            "it out."
        )


def attacking(metadata: Mapping[str, Any], attack: str) -> dict[str, Any]:
    """Return a task's metadata under an attack, with only those settings that mean it.

    Raises:
        SafemergeError: there is no such attack.
    """
    made = make_attack(AttackSettings.checked({"name": attack}))
    kept = {AttackSettings.key_of(field) for field in made.takes} if made else set()
    prefix = AttackSettings.prefix
    others = {
        key: value
        for key, value in metadata.items()
        if key != "attack" and not key.startswith(prefix)
    }
    own = {key: value for key, value in metadata.items() if key in kept}
    return {**others, **own, **({"attack": attack} if made else {})}


def refuse_settings_of_none(metadata: Mapping[str, Any], attacks: Sequence[str]) -> None:
    """Refuse settings that none of the attacks takes.

    Raises:
        SafemergeError: names one.
    """
    if not attacks:
        return
    given = {key for key in metadata if key.startswith(AttackSettings.prefix)}
    used = {key for attack in attacks for key in attacking(metadata, attack)}
    if unused := sorted(given - used):
        raise SafemergeError(
            f"{unused[0]} means nothing to the attacks {', '.join(attacks)}; leave it out."
        )
