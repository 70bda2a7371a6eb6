"""Places to resume from. Only one that was written to the end counts."""

import json
import shutil
from pathlib import Path
from typing import Any

_PREFIX = "checkpoint-"
_COMPLETE = "complete"
_STATE = "trainer_state.json"


def last_complete(work: Path) -> Path | None:
    """Return the latest complete checkpoint."""
    found = [path for path in _checkpoints(work) if (path / _COMPLETE).is_file()]
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Return after which step a checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def remove_incomplete(work: Path) -> None:
    """Remove what a killed run left half-written."""
    for path in _checkpoints(work):
        if not (path / _COMPLETE).is_file():
            shutil.rmtree(path)


def mark_complete(work: Path, step: int) -> None:
    """Mark a checkpoint whose files are all written, and remove the earlier ones.

    The mark is written last, so a process killed at any moment leaves one complete checkpoint.
    """
    newest = work / f"{_PREFIX}{step}"
    (newest / _COMPLETE).touch()
    for path in _checkpoints(work):
        if path != newest:
            _remove(path)


def remove_all(work: Path) -> None:
    """Remove every checkpoint, complete or not."""
    for path in _checkpoints(work):
        _remove(path)


def _remove(path: Path) -> None:
    # Unmarked first: killed while removing, it must not look complete.
    (path / _COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(path)


def history(checkpoint: Path) -> list[dict[str, Any]]:
    """Return what the trainer logged up to a checkpoint, one entry a step."""
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    logged: list[dict[str, Any]] = state["log_history"]
    return logged


def _checkpoints(work: Path) -> list[Path]:
    return [
        path
        for path in work.glob(f"{_PREFIX}*")
        if path.is_dir() and path.name.removeprefix(_PREFIX).isdigit()
    ]
