"""A merge method in a file of the user's own, `path/to/file.py:Name`.

The file is run as it is imported. Its class is registered under its own name like any other,
decorated or not, and outputs name the file and its hash.
"""

import hashlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from merge.errors import MergeError, suggestion
from merge.methods.method import Method

_SEPARATOR = ".py:"


def is_own_file(name: str) -> bool:
    """Whether a method is named by its file."""
    return _SEPARATOR in name


def class_in_file(name: str) -> type[Method]:
    """Return the class that is named by its file, imported again only if the file has changed.

    Raises:
        MergeError: the file is missing or broken, or holds no such method.
    """
    stem, _, wanted = name.rpartition(_SEPARATOR)
    path = Path(f"{stem}.py").expanduser()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise MergeError(
            f"The method's file {path} cannot be read ({error.strerror}); correct the path."
        ) from error
    module = _imported(path.absolute(), hashlib.sha256(text).hexdigest())
    found = vars(module).get(wanted)
    if isinstance(found, type) and issubclass(found, Method) and hasattr(found, "name"):
        found.file = (path.name, str(vars(module)["__sha256__"]))
        return found
    known = [
        key for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Method) and value is not Method
    ]  # fmt: skip
    if found is not None or not known:
        raise MergeError(
            f"{path} has no merge method {wanted}; write one as a subclass of merge.methods.Method "
            f"with a name."
        )
    raise MergeError(f"{path} has no merge method {wanted}; {suggestion(wanted, known)}")


def _imported(path: Path, sha256: str) -> ModuleType:
    # Pickle and pydantic look a class's module up by its name.
    name = f"safemerge_own_method_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    present = sys.modules.get(name)
    if present is not None and vars(present)["__sha256__"] == sha256:
        return present
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    vars(module)["__sha256__"] = sha256
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    # The user's own code can raise anything.
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit):
            raise
        raise MergeError(
            f"The method's file {path} cannot be imported ({type(error).__name__}: {error}); mend "
            f"it."
        ) from error
    return module
