"""`lm_eval` with our tasks and those of --include_path alone: reading its own takes ten seconds."""

import runpy
from typing import Any
from unittest.mock import patch

from lm_eval.tasks import TaskManager

from safemerge_tasks.suites.places import packaged_folder


def near(include_path: str | None = None, metadata: Any = None) -> TaskManager:
    """Return what lm_eval would, without the tasks that come with it."""
    places = [packaged_folder(), *([include_path] if include_path else [])]
    return TaskManager(include_path=places, include_defaults=False, metadata=metadata)


if __name__ == "__main__":
    with patch("lm_eval.tasks.TaskManager", near):
        runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)
