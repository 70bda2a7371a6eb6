"""Packages whose internals are read here work in the versions that our own metadata allows."""

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from safemerge_tasks.common.errors import SafemergeError

DISTRIBUTION = "safemerge"


def refuse_unknown(package: str) -> None:
    """Refuse a version outside of what the metadata allows, which nothing here was tested with.

    A pre-release counts as the release that it comes before.

    Args:
        package: a distribution; one that is not installed is for others to miss.

    Raises:
        SafemergeError: names both versions.
    """
    try:
        found = version(package)
        allowed = _allowed(package)
    except PackageNotFoundError:  # a checkout that was never installed has no metadata
        return
    if Version(found).base_version not in allowed:
        raise SafemergeError(
            f"{package} {found} is installed, and safemerge reads internals of it that are known "
            f"of {package}{allowed}; run pip install '{package}{allowed}'."
        )


def _allowed(package: str) -> SpecifierSet:
    asked = (Requirement(line) for line in requires(DISTRIBUTION) or ())
    name = canonicalize_name(package)
    found = (one.specifier for one in asked if canonicalize_name(one.name) == name)
    return next(found, SpecifierSet())
