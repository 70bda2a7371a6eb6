"""The methods that there are: one file each here, and those of other packages.

Another package names the modules of its methods in the entry point group
``safemerge.merge_methods``, and a user the file of his own. The first line of a method's module
says in a table what it does.
"""

import importlib
import pkgutil
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TypeVar

from merge.errors import MergeError, suggestion
from merge.methods.method import Method
from merge.methods.own_file import class_in_file, is_own_file
from merge.methods.parameters import ParameterDescription, describe_parameters
from merge.methods.roles import Role

ENTRY_POINTS = "safemerge.merge_methods"

_registered: dict[str, Method] = {}
Kind = TypeVar("Kind", bound=type[Method])


def register(method: Kind) -> Kind:
    """Make a method known by its name.

    Raises:
        MergeError: another method has the name.
    """
    other = _registered.get(method.name)
    # A file of the user's own that was changed meanwhile takes its own place.
    again = other is not None and other.file and type(other).__module__ == method.__module__
    if other is not None and not again:
        raise MergeError(
            f"Two merge methods are named {method.name}: {type(other).__module__} and "
            f"{method.__module__}; rename one."
        )
    _registered[method.name] = method()
    return method


def methods() -> dict[str, Method]:
    """Return every method by name.

    Raises:
        MergeError: another package's methods cannot be loaded.
    """
    _load()
    return dict(sorted(_registered.items()))


@cache
def _load() -> None:
    package = importlib.import_module("merge.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        # Importing another package's code can raise anything.
        except Exception as error:
            owner = point.dist.name if point.dist else point.value
            raise MergeError(
                f"The merge methods of {owner} cannot be loaded ({type(error).__name__}: {error}); "
                f"upgrade or uninstall it."
            ) from error


def find_method(name: str) -> Method:
    """Return a method by name, with `_` for `-` allowed as in mergekit, or by `file.py:Class`.

    Raises:
        MergeError: there is no such method.
    """
    known = methods()
    if is_own_file(name):
        found = class_in_file(name)
        if type(known.get(found.name)) is not found:
            register(found)
        return _registered[found.name]
    method = known.get(name.replace("_", "-"))
    if method is None:
        raise MergeError(f"There is no merge method {name!r}; {suggestion(name, known)}")
    return method


def known_roles() -> dict[str, Role]:
    """Return every role that some method declares, by name."""
    return {role.name: role for method in methods().values() for role in method.roles}


@dataclass(frozen=True)
class MethodDescription:
    """A method as people see it, its λ among the parameters."""

    name: str
    summary: str
    parameters: tuple[ParameterDescription, ...]
    roles: tuple[Role, ...] = ()


def describe_methods() -> list[MethodDescription]:
    """Return what people should know of each method. This takes no torch."""
    return [
        MethodDescription(name, _summary(method), tuple(_parameters(method)), method.roles)
        for name, method in methods().items()
    ]


def _summary(method: Method) -> str:
    written = sys.modules[type(method).__module__].__doc__ or type(method).__doc__ or ""
    return written.strip().partition("\n")[0]


def _parameters(method: Method) -> list[ParameterDescription]:
    own = [
        *describe_parameters(method.parameters),
        *describe_parameters(method.model_parameters, per_model=True),
    ]
    if not method.takes_lambda:
        return own
    default = method.default_lambda
    low, high = method.lambda_range
    help_ = "weight of the fine-tuned side"
    return [
        ParameterDescription("lambda", help_, "float", default, default is None, low, high),
        *own,
    ]
