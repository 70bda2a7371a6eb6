"""What users write to name attacks: `NAME`, `NAME:argument`, `NAME=FILE`, a file of their own."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from safemerge_tasks.common.errors import SafemergeError

PLAIN = "plain"
"""Stands for no attack at all."""

BETWEEN = "@"
"""Stands between a task's name and that of the attack on it, as in `advbench_asr@prefill:5`."""

MAKE = "make"
"""The function of a file that makes its attack, where none is named."""

_OWN = re.compile(r"(?P<path>[^:]*\.py)(?::(?P<function>[^\W\d]\w*))?(?::(?P<argument>.*))?")
_NAMED = re.compile(r"(?P<name>[\w-]+)(?:[:=](?P<argument>.*))?")
_ROW = re.compile(r"[\w.:=+-]+")


class AttackName(NamedTuple):
    """An attack as a user names it.

    Attributes:
        spelt: what the user wrote.
        row: what ends the names of tasks under it, such as `prefill:5` or `system=calm.txt`.
        name: of the attack, or the file of the user's own that it is.
        argument: what stands after the name; empty for nothing.
        function: of the user's own file; empty for an attack with a name.
    """

    spelt: str
    row: str
    name: str
    argument: str = ""
    function: str = ""

    @property
    def file(self) -> Path | None:
        """The file that it is, or that it takes; None for an attack without one."""
        if self.function:
            return Path(self.name)
        takes = self.spelt.startswith(f"{self.name}=") and self.argument
        return Path(self.argument).expanduser() if takes else None

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            SafemergeError: it is no name, or one that no row of results can have.
        """
        text = text.strip()
        own, named = _OWN.fullmatch(text), _NAMED.fullmatch(text)
        if own:
            argument, function = own["argument"] or "", own["function"] or MAKE
            path = Path(own["path"]).expanduser().absolute()
            row = path.name if function == MAKE else f"{path.name}:{function}"
            found = cls(text, _with(row, ":", argument), str(path), argument, function)
        elif named:
            argument = named["argument"] or ""
            sign = text[len(named["name"]) :][:1]
            found = cls(text, _with(named["name"], sign, argument), named["name"], argument)
        else:
            raise SafemergeError(
                f"attack={text} is no attack's name; write NAME, NAME:ARGUMENT or NAME=FILE."
            )
        if not _ROW.fullmatch(found.row):
            raise SafemergeError(
                f"attack={text} gives results their name, so only letters, digits, _, -, + and . "
                "may be in it; rename the file."
            )
        return found


def with_path(text: str, place: Callable[[str], str]) -> str:
    """Return what a user wrote with the path of a file as `place` gives it.

    Raises:
        SafemergeError: it is no attack's name.
    """
    name = AttackName.read(text)
    if name.file is None:
        return text
    if own := _OWN.fullmatch(name.spelt):
        return place(own["path"]) + name.spelt[own.end("path") :]
    return f"{name.name}={place(name.argument)}"


def task_with_path(task: str, place: Callable[[str], str]) -> str:
    """Return a task with the path of its attack's file, if it has one, as `place` gives it."""
    asked, between, attack = task.partition(BETWEEN)
    return f"{asked}{between}{with_path(attack, place)}" if between else task


def _with(name: str, sign: str, argument: str) -> str:
    return f"{name}{sign}{Path(argument).name}" if argument else name
