"""Modules that are found by a name: files of a folder, or what another package names."""

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from safemerge_tasks.common.errors import SafemergeError


class NamedModules(NamedTuple):
    """Modules that each have a function `make`, such as judges.

    `my-name` is a module `my_name.py` of the package, or any module that another package names in
    its metadata as `my-name = "my_package.my_module"`; ours win.

    Attributes:
        package: ours, by its full name.
        folder: where it lies.
        group: of entry points, in which other packages name theirs.
        key: what the user sets, such as `judge`.
        make: begins the line of a module that is one of these.
        own: an own file as the user would name it, for the error sentence.
    """

    package: str
    folder: Path
    group: str
    key: str
    make: str
    own: str

    def names(self) -> set[str]:
        """Return all names; nothing is imported."""
        return {*self._packaged(), *(point.name for point in entry_points(group=self.group))}

    def load(self, name: str, spelt: str, names: list[str]) -> Any:
        """Return a module.

        Args:
            name: what is looked for.
            spelt: as the user wrote it.
            names: what a user may write, for the error sentence.

        Raises:
            SafemergeError: there is none, or it cannot be imported or has no `make`.
        """
        if name in self._packaged():
            return import_module(f"{self.package}.{name.replace('-', '_')}")
        found = tuple(entry_points(group=self.group, name=name))
        if not found:
            raise SafemergeError(
                f"{self.key}={spelt} is unknown; choose from {', '.join(names)}, or name a file of "
                f"your own as in {self.own}."
            )
        where = f"{self.key}={name} is {found[0].value}"
        try:
            module: ModuleType = found[0].load()
        except (ImportError, AttributeError) as error:
            raise SafemergeError(
                f"{where}, which cannot be imported ({error}); install it again."
            ) from error
        if not callable(getattr(module, "make", None)):
            raise SafemergeError(f"{where}, which has no function `make`.")
        return module

    def _packaged(self) -> list[str]:
        modules = pkgutil.iter_modules([str(self.folder)])
        return [
            module.name.replace("_", "-")
            for module in modules
            if not module.ispkg
            and f"\n{self.make}" in (self.folder / f"{module.name}.py").read_text(encoding="utf-8")
        ]
