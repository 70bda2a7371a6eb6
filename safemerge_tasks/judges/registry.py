"""How a judge is found by its name: a file beside this one, or one from another package."""

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError

ENTRY_POINTS = "safemerge.judges"
"""The group in which other packages name the modules of their judges."""


def judge_names() -> list[str]:
    """Return the names that `judge=` accepts; nothing is imported."""
    return sorted({*_packaged(), *(point.name for point in entry_points(group=ENTRY_POINTS))})


def judge_module(name: str) -> Any:
    """Return the module of a judge.

    A judge named `my-judge` is a module `judges/my_judge.py`, or any module that another package
    names in its metadata as `my-judge = "my_package.my_module"`; ours win. The module has a
    function `make(settings: JudgeSettings) -> Judge` that loads nothing heavy. One whose prompt
    can be replaced with `judge_prompt` says so with `READS_PROMPT = True`, one that takes
    `judge_mode` names its modes in `MODES`.

    Raises:
        SafemergeError: there is no such judge, or its module does not make one.
    """
    if name in _packaged():
        return import_module(f"{__package__}.{name.replace('-', '_')}")
    found = tuple(entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        names = ", ".join(judge_names())
        raise SafemergeError(
            f"judge={name} is unknown; choose from {names}, or name a file of your own as in "
            "path/to/judge.py:make."
        )
    try:
        module = found[0].load()
    except (ImportError, AttributeError) as error:
        raise SafemergeError(
            f"judge={name} is {found[0].value}, which cannot be imported ({error}); install it "
            "again."
        ) from error
    if not callable(getattr(module, "make", None)):
        raise SafemergeError(f"judge={name} is {found[0].value}, which has no function `make`.")
    return module


def _packaged() -> list[str]:
    folder = Path(__file__).parent
    modules = (module.name for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg)
    return [
        name.replace("_", "-")
        for name in modules
        if "\ndef make(settings" in (folder / f"{name}.py").read_text(encoding="utf-8")
    ]
