"""Tasks under an attack, by the names that their results have: `advbench_asr@prefill:5`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from lm_eval.tasks import TaskManager
from lm_eval.tasks._factory import TaskFactory

from safemerge_tasks.attacks import PLAIN, attacking, refuse_settings_of_none
from safemerge_tasks.attacks.names import BETWEEN
from safemerge_tasks.suites.places import packaged_folder


def attack_on(name: str, metadata: Mapping[str, Any] | None) -> str:
    """Return the attack on a task: the one that its name ends in, else that of the metadata."""
    return name.partition(BETWEEN)[2] or str((metadata or {}).get("attack", PLAIN))


class AttackedTasks(TaskManager):  # type: ignore[misc]
    """lm-eval's tasks, of which each can be asked for under an attack, and several times."""

    _factory: Any

    @classmethod
    def near(
        cls, include_path: str | Path | Sequence[str | Path] | None, metadata: Mapping[str, Any]
    ) -> Self:
        """Return the packaged tasks and those below `include_path`.

        All of lm-eval's are thousands of YAML files and ten seconds; these are found at once.
        """
        given = [include_path] if isinstance(include_path, str | Path) else include_path or ()
        return cls(
            include_path=[packaged_folder(), *given],
            include_defaults=False,
            metadata=dict(metadata),
        )

    def has(self, names: Iterable[str]) -> bool:
        """Return whether each name is one of a task, not of a group or a pattern."""
        return {name.partition(BETWEEN)[0] for name in names} <= set(self.all_subtasks)

    def _load_spec(self, spec: Any) -> Any:
        """Return the task of a name, or one below it under the attack that the name ends in."""
        if not isinstance(spec, str):
            return super()._load_spec(spec)
        task, between, _ = spec.partition(BETWEEN)
        with self._metadata(attacking(self.metadata or {}, attack_on(spec, self.metadata))):
            found = super()._load_spec(task)
        if not between:
            return found
        tasks = found.get_all_tasks() if hasattr(found, "get_all_tasks") else found
        # A group has one name for all attacks, so its members stand for themselves.
        return tasks if isinstance(tasks, list) else [tasks]

    def match_tasks(self, task_list: list[str]) -> list[str]:
        """Return the names that there are tasks of, those under attacks as they are."""
        attacked = [name for name in task_list if BETWEEN in name]
        plain = [name for name in task_list if BETWEEN not in name]
        known = [name for name in attacked if self.task_index.get(name.partition(BETWEEN)[0])]
        return [*super().match_tasks(plain), *known]

    @contextmanager
    def _metadata(self, metadata: Mapping[str, Any]) -> Iterator[None]:
        before = self._factory
        self._factory = TaskFactory(meta=dict(metadata))
        try:
            yield
        finally:
            self._factory = before


class AllAttackedTasks(AttackedTasks):
    """The same, where all tasks of an evaluation are loaded at once."""

    def load(self, task_list: Any) -> Any:
        """Return tasks and groups by their names.

        Raises:
            SafemergeError: there are settings that mean nothing to any of their attacks.
        """
        specs = task_list if isinstance(task_list, list) else [task_list]
        names = [spec for spec in specs if isinstance(spec, str)]
        attacks = dict.fromkeys(attack_on(name, self.metadata) for name in names)
        refuse_settings_of_none(self.metadata or {}, list(attacks))
        return super().load(task_list)
