"""A new judge of the user's own: a file that judges, and its test."""

import re
from dataclasses import dataclass
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.registry import judge_names

_NAME = r"[a-z][a-z0-9_]*"


@dataclass(frozen=True)
class NewJudge:
    """What was written."""

    file: Path
    test: Path


def new_judge(name: str, out: Path) -> NewJudge:
    """Write `out/name.py`, which judges by a few words until its owner knows better, and a test.

    Raises:
        SafemergeError: the name cannot be a file's or is taken; nothing is written then.
    """
    if not re.fullmatch(_NAME, name):
        raise SafemergeError(
            f"{name!r} cannot name a judge's file: use lower-case letters, digits and _, as in "
            "my_judge."
        )
    if name.replace("_", "-") in judge_names():
        raise SafemergeError(f"{name} is a judge already; choose another name.")
    made = NewJudge(out / f"{name}.py", out / f"test_{name}.py")
    for path in (made.file, made.test):
        if path.exists():
            raise SafemergeError(f"{path} exists already; choose another name or another --out.")
    out.mkdir(parents=True, exist_ok=True)
    class_name = "".join(part.capitalize() for part in name.split("_"))
    for path, template in ((made.file, "new_judge.txt"), (made.test, "new_test.txt")):
        text = Path(__file__).with_name(template).read_text(encoding="utf-8")
        filled = text.replace("{name}", name).replace("{class_name}", class_name)
        path.write_text(filled, encoding="utf-8")
    return made
