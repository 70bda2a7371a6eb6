"""The files that a task's module imports and that no installed package owns."""

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_INSTALLED = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib")}
)
# Their sources are in a step's key already.
_OURS = ("merge", "safemerge_tasks")


def own_modules(file: Path) -> list[Path]:
    """Return a module's file and those of the modules below that it imports, in a fixed order.

    A module counts if it lies beside the importing one or below, or was loaded from anywhere that
    is no installed package: a helper on PYTHONPATH.
    """
    found = [file.resolve()]
    for known in found:
        found += [path for path in dict.fromkeys(_imported(known)) if path not in found]
    return [found[0], *sorted(found[1:], key=lambda path: (path.name, str(path)))]


def _imported(file: Path) -> Iterator[Path]:
    if _installed(file):
        return
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        # It is loaded otherwise than as text, which its own hash covers.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name, file.parent)
        elif isinstance(node, ast.ImportFrom):
            folder = file.parent
            for _ in range(max(0, node.level - 1)):
                folder = folder.parent
            # What is imported from a package may be a module of it.
            names = [node.module or "", *(f"{node.module or ''}.{one.name}" for one in node.names)]
            for name in names:
                yield from _files(name.strip("."), folder)


def _files(name: str, folder: Path) -> Iterator[Path]:
    """Return the files of a module and of the packages that it is in."""
    parts = name.split(".")
    if not name or parts[0] in _OURS:
        return
    for length in range(1, len(parts) + 1):
        loaded = sys.modules.get(".".join(parts[:length]))
        place = folder.joinpath(*parts[:length])
        places = [place.with_name(f"{place.name}.py"), place / "__init__.py"]
        if loaded is not None and getattr(loaded, "__file__", None):
            places.append(Path(str(loaded.__file__)))
        for path in places:
            if path.suffix == ".py" and path.is_file() and not _installed(path.resolve()):
                yield path.resolve()


def _installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _INSTALLED)
