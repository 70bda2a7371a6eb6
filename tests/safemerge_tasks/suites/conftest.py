"""The folder of data, and question sets in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.suites import SuiteSpec
from safemerge_tasks.suites.task_files import read_task_file
from tests.question_sets import (
    catqa,
    catqa_rows,
    harmfulqa,
    harmfulqa_rows,
)


@pytest.fixture
def spec_of(repository: Path) -> Callable[[str], SuiteSpec]:
    """Return a function from a packaged task's name to its suite."""

    def spec(task: str) -> SuiteSpec:
        (path,) = (repository / "task_configs").rglob(f"{task}.yaml")
        return SuiteSpec.checked(read_task_file(path).content["dataset_kwargs"], where=task)

    return spec


@pytest.fixture
def shapes() -> dict[str, Callable[..., Any]]:
    """Return the functions that make question sets in their real shapes."""
    return {
        "catqa": catqa,
        "catqa_rows": catqa_rows,
        "harmfulqa": harmfulqa,
        "harmfulqa_rows": harmfulqa_rows,
    }
