"""The sections of a kind of report: files of a folder, and other packages' entry points."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Section

Subject = TypeVar("Subject")
Make = Callable[[Subject], Section]


class Sections(Generic[Subject]):
    """Sections of reports on a subject, found by their decorator.

    `@section(45)` on a function that makes a section puts it between those of 40 and 50.

    Args:
        package: the folder whose files are imported.
        group: of entry points; each names a module that has sections.
    """

    def __init__(self, package: str, group: str) -> None:
        self._package = package
        self._group = group
        self._found: dict[str, tuple[float, Make[Subject]]] = {}

    def __call__(self, place: float) -> Callable[[Make[Subject]], Make[Subject]]:
        """Return a decorator that registers a section at a place among the others."""

        def register(make: Make[Subject]) -> Make[Subject]:
            self._found[f"{make.__module__}.{make.__qualname__}"] = (place, make)
            return make

        return register

    def of(self, subject: Subject) -> tuple[Section, ...]:
        """Return the sections in order, without those that have nothing to say.

        Raises:
            SafemergeError: another package's sections cannot be imported.
        """
        self._import()
        ordered = sorted(self._found.values(), key=lambda one: one[0])
        made = (make(subject) for _, make in ordered)
        filled = (
            replace(one, tables=tuple(table for table in one.tables if table.rows)) for one in made
        )
        return tuple(one for one in filled if one.tables or one.figures or one.excerpts)

    def _import(self) -> None:
        folder = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(folder.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        for point in entry_points(group=self._group):
            try:
                point.load()
            except Exception as error:
                raise SafemergeError(
                    f"the section {point.name} of {point.value} cannot be imported "
                    f"({type(error).__name__}: {error}); update or uninstall its package."
                ) from error
