"""How a judge is found by its name: a file beside this one, or one from another package."""

from pathlib import Path
from typing import Any

from safemerge_tasks.common.named_modules import NamedModules

ENTRY_POINTS = "safemerge.judges"
"""The group in which other packages name the modules of their judges."""

_JUDGES = NamedModules(
    package="safemerge_tasks.judges",
    folder=Path(__file__).parent,
    group=ENTRY_POINTS,
    key="judge",
    make="def make(settings",
    own="path/to/judge.py:make",
)


def judge_names() -> list[str]:
    """Return the names that `judge=` accepts; nothing is imported."""
    return sorted(_JUDGES.names())


def judge_module(name: str) -> Any:
    """Return the module of a judge, found as `NamedModules` says.

    It has a function `make(settings: JudgeSettings) -> Judge` that loads nothing heavy. One whose
    prompt can be replaced with `judge_prompt` says so with `READS_PROMPT = True`, one that takes
    `judge_mode` names its modes in `MODES`.

    Raises:
        SafemergeError: there is no such judge, or its module does not make one.
    """
    return _JUDGES.load(name, name, judge_names())
