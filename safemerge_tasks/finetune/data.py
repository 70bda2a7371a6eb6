"""The training and validation rows of a configuration."""

import os
from functools import lru_cache
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.path_names import resolve
from safemerge_tasks.finetune.config import FileData, FinetuneConfig, TaskData
from safemerge_tasks.finetune.exchanges import TuningData
from safemerge_tasks.finetune.own_rows import own_rows
from safemerge_tasks.finetune.task_rows import task_rows
from safemerge_tasks.suites.sources import DATA_DIR


def load_data(config: FinetuneConfig, seed: int) -> TuningData:
    """Return the rows of the fine-tuning of one seed.

    Raises:
        SafemergeError: the data is missing or wrong, with file and line.
    """
    if isinstance(config.data, TaskData):
        return _task_rows(config.data, config.split_seed_of(seed), os.environ.get(DATA_DIR))
    path = _located(config.data)
    seen = path.stat()
    return _own_rows(
        path,
        (seen.st_mtime_ns, seen.st_size),
        config.split_seed_of(seed),
        config.validation_share,
        config.system_prompt or "",
    )


def _located(data: FileData) -> Path:
    path = Path(resolve(data.file)).expanduser()
    if path.is_file():
        return path
    folder = os.environ.get(DATA_DIR)
    below = Path(folder).expanduser() / path if folder else None
    if below is not None and below.is_file():
        return below
    also = f" (nor {below})" if below is not None else ""
    raise SafemergeError(
        f"{path} does not exist{also}; give data.file as a JSON lines file, or set {DATA_DIR} to "
        "the folder it is in."
    )


# Two: the seeds of a configuration usually share their rows, and they are not small.
@lru_cache(maxsize=2)
def _task_rows(data: TaskData, split_seed: int, _data_dir: str | None) -> TuningData:
    return task_rows(data, split_seed)


@lru_cache(maxsize=2)
def _own_rows(
    path: Path, _state: tuple[int, int], split_seed: int, share: float | None, system_prompt: str
) -> TuningData:
    return own_rows(path, split_seed, share, system_prompt)
