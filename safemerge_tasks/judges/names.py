"""What users write to name judges: names, files of their own, votes, and several at once.

`wildguard`, `judges/mine.py:make`, `majority(wildguard+qwen3guard)`, `wildguard+judges/mine.py`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from safemerge_tasks.common.errors import SafemergeError

AUTO = "auto"
"""Stands for a judge that is chosen by a task's languages."""

BY_LANGUAGE = ("wildguard", "qwen3guard")
"""Whom that is: the first for tasks in languages that it lists, else the second."""

MAKE = "make"
"""The function of a file that makes its judge, where none is named."""

_FILE = re.compile(r"(?P<path>[^:]*\.py)(?::(?P<function>\w+))?")
_ROW = re.compile(r"[\w.-]+")
_BETWEEN = re.compile(r"\s*([+,()])\s*")


class JudgeFile(NamedTuple):
    """A user's own judge.

    Attributes:
        name: what its results go under: the file's name, with the function unless that is `make`.
        path: the file, absolute.
        function: what makes the judge.
    """

    name: str
    path: str
    function: str

    @property
    def spelt(self) -> str:
        """What a user writes for it."""
        return f"{self.path}:{self.function}"


class Named(NamedTuple):
    """Judges as results name them, and the files that some of them are."""

    text: str
    files: tuple[JudgeFile, ...]


def read_names(text: str) -> Named:
    """Return the names in what a user wrote; members are joined by `+`.

    lm-eval's `--metadata` cannot hold commas, so both will do.

    Raises:
        SafemergeError: a file's name cannot be that of a row of results.
    """
    files: dict[str, JudgeFile] = {}
    names = []
    for part in _parts(text):
        found = _FILE.fullmatch(part)
        if found:
            file = _file(found["path"], found["function"] or MAKE)
            files[file.name] = file
        names.append(file.name if found else "+" if part == "," else part)
    return Named("".join(names), tuple(files.values()))


def with_paths(text: str, place: Callable[[str], str]) -> str:
    """Return what a user wrote with every path of a file as `place` gives it."""
    found = ((part, _FILE.fullmatch(part)) for part in _parts(text))
    return "".join(part.replace(f["path"], place(f["path"])) if f else part for part, f in found)


def row_name(text: str) -> str:
    """Return what the results of a judge go under, such as `mine.py` for `judges/mine.py:make`."""
    return read_names(text).text


def spelt(text: str, files: Sequence[JudgeFile]) -> str:
    """Return names with the paths of those that are files, for a user to write again."""
    paths = {file.name: file.spelt for file in files}
    return "".join(paths.get(part, part) for part in _BETWEEN.split(text))


def named_in(text: str) -> frozenset[str]:
    """Return every name that stands in `text`, a vote's own and its members' among them."""
    return frozenset(_BETWEEN.split(text))


def side_by_side(text: str) -> list[str]:
    """Return the judges that are asked for together: `a` and `majority(b+c)` of both with a +."""
    return [name for name in re.split(r"\+(?![^()]*\))", text) if name]


def rows_of(text: str) -> list[str]:
    """Return the rows that may hold a task's results, the one that counts where it is there first.

    Args:
        text: judges' names, as `JudgeSettings.name` has them.
    """
    return [
        row for name in side_by_side(text) for row in (BY_LANGUAGE if name == AUTO else (name,))
    ]


def _parts(text: str) -> list[str]:
    whole = _FILE.fullmatch(text.strip())
    if whole and Path(whole["path"]).expanduser().is_file():
        return [text.strip()]  # its folders may be called anything
    return _BETWEEN.split(text.strip())


def _file(path: str, function: str) -> JudgeFile:
    place = Path(path).expanduser().absolute()
    if not _ROW.fullmatch(place.name):
        raise SafemergeError(
            f"judge={path}: the file gives results their name, so only letters, digits, _, - and . "
            "may be in it; rename it."
        )
    name = place.name if function == MAKE else f"{place.name}:{function}"
    return JudgeFile(name, str(place), function)
