"""Task YAML as lm-eval reads it, but what it would skip or overwrite in silence tells why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.yaml_file import EachKeyOnce, read_yaml
from safemerge_tasks.suites.places import packaged_folder

HARNESS_CLASS = "safemerge_tasks.harness.HarmfulQuestions"
SUITE_CLASSES = frozenset((HARNESS_CLASS, "safemerge_tasks.harness.ReferenceAnswers"))


class Function(str):
    """The dotted name after `!function`, not imported."""

    __slots__ = ()


class _Loader(EachKeyOnce):
    """YAML with `!function`."""


_Loader.add_constructor("!function", lambda _, node: Function(node.value))


@dataclass(frozen=True)
class TaskFile:
    """One YAML file, with what it includes."""

    path: Path
    content: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    """Why lm-eval skips the file, or reads it otherwise than it looks."""

    @property
    def task(self) -> str | None:
        """The task's name, if the file is one."""
        name = self.content.get("task")
        return name if isinstance(name, str) and self.group is None else None

    @property
    def group(self) -> str | None:
        """The group's name, if the file is one."""
        name = self.content.get("group")
        return name if isinstance(name, str) and "class" not in self.content else None

    @property
    def name(self) -> str:
        """What lm-eval calls the file's task or group; the file's own name if it has none."""
        return self.task or self.group or self.path.stem

    @property
    def is_suite(self) -> bool:
        """Whether the file is a suite of questions of ours, with a judge or with references."""
        return self.content.get("class") in SUITE_CLASSES


def task_files(include_path: Path | None = None) -> list[TaskFile]:
    """Return the packaged task files and those below `include_path`, which win over packaged ones.

    Raises:
        SafemergeError: `include_path` is not a folder.
    """
    if include_path is not None and not include_path.is_dir():
        raise SafemergeError(f"{include_path} is not a folder; give the one with your suites.")
    own = _below(include_path) if include_path else []
    names = {file.name for file in own}
    return [file for file in _below(packaged_folder()) if file.name not in names] + own


def _below(root: Path) -> list[TaskFile]:
    paths = [*root.rglob("*.yaml"), *root.rglob("*.yml")]
    files = [read_task_file(path) for path in sorted(paths)]
    # Other programs' .yml files are none of our business.
    return [file for file in files if file.path.suffix == ".yaml" or file.error is not None]


def read_task_file(path: Path) -> TaskFile:
    """Return a task file; one that cannot be read carries the reason."""
    try:
        file = TaskFile(path, _merged(path, ()))
    except SafemergeError as error:
        return TaskFile(path, error=str(error) if path.suffix == ".yaml" else None)
    if path.suffix != ".yaml" and (file.task or file.group):
        return TaskFile(path, error=f"{path} is not seen by lm-eval; rename it to .yaml.")
    return file


def _merged(path: Path, including: tuple[Path, ...]) -> dict[str, Any]:
    """Return a file's keys over those of the files it includes, as lm-eval merges them."""
    if path in including:
        raise SafemergeError(f"{path} includes itself; remove the `include`.")
    content = _content(path)
    included = content.pop("include", [])
    merged: dict[str, Any] = {}
    for name in included if isinstance(included, list) else [included]:
        other = (path.parent / str(name)).resolve()
        if not other.is_file():
            raise SafemergeError(f"{path} includes {name}, which does not exist; correct the path.")
        merged.update(_merged(other, (*including, path)))
    return {**merged, **content}


def _content(path: Path) -> dict[str, Any]:
    content = read_yaml(path, loader=_Loader)
    if not isinstance(content, dict):
        raise SafemergeError(f"{path} has no keys, so lm-eval skips it; see the packaged suites.")
    return content
