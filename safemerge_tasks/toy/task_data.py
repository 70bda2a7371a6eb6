"""The demo's harmless task, as lm-eval loads and scores it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy.questions import TASK_FILE, VALIDATION_TASK_FILE


def load_task(**_: Any) -> dict[str, Any]:
    """Return the held-out task questions below `SAFEMERGE_DATA_DIR`.

    Raises:
        SafemergeError: they are not there.
    """
    return _load(TASK_FILE)


def load_validation(**_: Any) -> dict[str, Any]:
    """Return the task's validation questions below `SAFEMERGE_DATA_DIR`.

    Raises:
        SafemergeError: they are not there.
    """
    return _load(VALIDATION_TASK_FILE)


def _load(name: str) -> dict[str, Any]:
    import datasets

    path = Path(os.environ.get("SAFEMERGE_DATA_DIR", "")) / name
    if not path.is_file():
        raise SafemergeError(f"{path} does not exist; set SAFEMERGE_DATA_DIR as the demo does.")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {"test": datasets.Dataset.from_list(rows)}


def exact_match(doc: dict[str, str], results: Sequence[str]) -> dict[str, float]:
    """Return whether the response is the reference, white space around it aside."""
    return {"exact_match": float(results[0].strip() == doc["answer"])}
