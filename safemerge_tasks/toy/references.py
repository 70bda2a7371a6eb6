"""Names such as `toy:aligned` for the toy family's parts, so that example files run anywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.path_names import register_names

if TYPE_CHECKING:
    from safemerge_tasks.toy.members import ToyFamily

PREFIX = "toy:"

_MEMBERS: dict[str, Callable[["ToyFamily"], Path]] = {
    "aligned": lambda family: family.aligned,
    "unaligned": lambda family: family.unaligned,
    "guard": lambda family: family.guard,
    "tuned-full": lambda family: family.tuned_full,
    "data": lambda family: family.questions,
    "tuning-data": lambda family: family.tuning_file,
}
_TASKS = "tasks"
_TUNED = "tuned-"


def resolve(text: str) -> str:
    """Return the path that a `toy:` name stands for; any other text is returned unchanged.

    The family is trained first unless the cache holds it: some two minutes on two cores.
    `toy:tasks`, the folder of its lm-eval tasks, needs no training.

    Raises:
        SafemergeError: the toy world has nothing of that name.
    """
    if not text.startswith(PREFIX):
        return text
    name = text.removeprefix(PREFIX)
    if name == _TASKS:
        from safemerge_tasks.toy.members import TASKS

        return str(TASKS)
    seeds = _seeds()
    adapters = {f"{_TUNED}{seed}": seed for seed in seeds}
    if name not in _MEMBERS and name not in adapters:
        known = ", ".join((*_MEMBERS, *adapters, _TASKS))
        raise SafemergeError(f"{text!r} is not part of the toy world, which has {known}.")
    from safemerge_tasks.toy.family import toy_family

    family = toy_family()
    if name in adapters:
        return str(family.tuned[adapters[name]])
    return str(_MEMBERS[name](family))


def _seeds() -> tuple[int, ...]:
    from safemerge_tasks.toy.recipe import TOY

    return TOY.seeds


register_names(PREFIX, resolve)
