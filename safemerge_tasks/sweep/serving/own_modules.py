"""What a task's module imports, reads or asks the environment, and no installed package owns."""

import ast
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from safemerge_tasks.common.file_hashes import file_hash

_INSTALLED = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib")}
)
# Their sources are in a step's key already.
_OURS = ("merge", "safemerge_tasks")
# Differ from job to job, or are nobody's business.
_NOT_READ = re.compile(
    r"TOKENIZERS_PARALLELISM|CUDA_VISIBLE_DEVICES|.*_THREADS(_BIND)?|SAFEMERGE_.*|"
    r".*(TOKEN|KEY|SECRET|PASSWORD).*"
)


def code_content(file: Path) -> list[str]:
    """Return what tells a module, with all that it imports and names, from another one.

    Files count by what is in them, variables of the environment by their value, or by what is in
    the file that it names.
    """
    files = own_modules(file)
    texts = {text for one in files for text in _texts(_nodes(one))}
    variables = sorted(name for name in texts & os.environ.keys() if not _NOT_READ.fullmatch(name))
    values = [f"{name}={_value(os.environ[name])}" for name in variables]
    return [*map(file_hash, files), *values]


def _value(text: str) -> str:
    return file_hash(Path(text)) if _is_file(Path(text)) else text


def own_modules(file: Path) -> list[Path]:
    """Return a module's file and those of the modules below that it imports, in a fixed order.

    A module counts if it lies beside the importing one or below, or was loaded from anywhere that
    is no installed package: a helper on PYTHONPATH. So does a file that it names, as seen from its
    folder: a prompt, or a list of words.
    """
    found = [file.resolve()]
    for known in found:
        found += [path for path in dict.fromkeys(_imported(known)) if path not in found]
    return [found[0], *sorted(found[1:], key=lambda path: (path.name, str(path)))]


def _nodes(file: Path) -> Iterator[ast.AST]:
    if _installed(file) or file.suffix != ".py":
        return
    try:
        yield from ast.walk(ast.parse(file.read_bytes()))
    except SyntaxError:
        # It is loaded otherwise than as text, which its own hash covers.
        return


def _texts(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the texts in a module's code."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _imported(file: Path) -> Iterator[Path]:
    nodes = list(_nodes(file))
    named = (file.parent / text for text in _texts(nodes) if text.strip())
    yield from (path.resolve() for path in named if _is_file(path))
    for node in nodes:
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


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is no path, or too long for one
        return False


def _installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _INSTALLED)
