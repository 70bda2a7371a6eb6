"""What lm-eval itself makes of task files: the keys it knows and the tasks it finds."""

from dataclasses import fields
from pathlib import Path

# lm-eval takes these out of a file before it builds the task.
HANDLED_APART = frozenset(("class", "group", "tag", "task_list"))


def task_keys() -> set[str]:
    """Return the keys a task's YAML may have."""
    from lm_eval.config.task import TaskConfig

    return {field.name for field in fields(TaskConfig)} | HANDLED_APART


def group_keys() -> set[str]:
    """Return the keys a group's YAML may have."""
    from lm_eval.config.group import GroupConfig

    return {field.name for field in fields(GroupConfig)} | {"tag"}


def indexed(folder: Path) -> set[str]:
    """Return the tasks and groups that lm-eval finds below a folder."""
    from lm_eval.tasks import TaskManager

    return set(TaskManager(include_path=str(folder), include_defaults=False).all_tasks)
