"""A Python file of the user's own, named where otherwise a name of ours stands."""

import hashlib
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from safemerge_tasks.common.errors import SafemergeError, brief


def load_own_module(path: str, function: str, key: str, makes: str, example: str) -> ModuleType:
    """Import a user's file, once while its content is the same, which `__sha256__` tells.

    Its folder is not searched for what it imports: a `numpy.py` there would be everybody's.

    Args:
        path: the file.
        function: what it has to have.
        key: what the user set, such as `judge`.
        makes: what the function makes, such as "a judge".
        example: ends the sentence on a missing file, after "as in".

    Raises:
        SafemergeError: there is no such file, it cannot be imported, or lacks the function.
    """
    spelt = f"{key}={path}:{function}"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SafemergeError(
            f"{spelt} cannot be read ({error.strerror}); give the path of a file, as in {example}."
        ) from error
    module = _imported(path, hashlib.sha256(content).hexdigest(), key)
    if not callable(getattr(module, function, None)):
        raise SafemergeError(
            f"{spelt}: the file has no function `{function}` that makes {makes}; write one, or "
            "name another after the colon."
        )
    return module


@cache
def _imported(path: str, sha256: str, key: str) -> ModuleType:
    name = f"safemerge_own_{key}_{hashlib.sha256(f'{path} {sha256}'.encode()).hexdigest()[:16]}"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    module.__dict__["__sha256__"] = sha256
    # Dataclasses and pickle look a class's module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code
        del sys.modules[name]
        raise SafemergeError(
            f"{key}={path} cannot be imported ({brief(error)}); mend it."
        ) from error
    return module
