"""The merge methods, one module each. A new module with a `Method` in it is a new method."""

import importlib
import pkgutil
from functools import cache

from merge.errors import MergeError, suggestion
from merge.methods.method import Method


@cache
def methods() -> dict[str, Method]:
    """Return every method by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    found = [method for method in _descendants(Method) if hasattr(method, "name")]
    return {method.name: method() for method in sorted(found, key=lambda method: method.name)}


def _descendants(parent: type[Method]) -> list[type[Method]]:
    children = parent.__subclasses__()
    return children + [child for direct in children for child in _descendants(direct)]


def find_method(name: str) -> Method:
    """Return a method by name, with `_` for `-` allowed as in mergekit.

    Raises:
        MergeError: there is no such method.
    """
    known = methods()
    method = known.get(name.replace("_", "-"))
    if method is None:
        raise MergeError(f"There is no merge method {name!r}; {suggestion(name, known)}")
    return method
