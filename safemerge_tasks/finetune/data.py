"""The training and validation rows of a configuration."""

from functools import lru_cache
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.local_data import DATA_DIR, data_dir
from safemerge_tasks.common.path_names import resolve
from safemerge_tasks.finetune.config import FileData, FinetuneConfig, HubData, TaskData
from safemerge_tasks.finetune.exchanges import TuningData
from safemerge_tasks.finetune.own_rows import own_rows
from safemerge_tasks.finetune.row_files import rows_of_file, rows_of_hub
from safemerge_tasks.finetune.task_rows import task_rows


def load_data(config: FinetuneConfig, seed: int) -> TuningData:
    """Return the rows of the fine-tuning of one seed.

    Raises:
        SafemergeError: the data is missing or wrong, with file and line.
    """
    if isinstance(config.data, TaskData):
        return _task_rows(config.data, config.split_seed_of(seed), data_dir())
    given = (config.split_seed_of(seed), config.validation_share, config.system_prompt or "")
    if isinstance(config.data, HubData):
        return _hub_rows(config.data, *given)
    path = _located(config.data)
    seen = path.stat()
    return _own_rows(path, (seen.st_mtime_ns, seen.st_size), *given)


def _located(data: FileData) -> Path:
    path = Path(resolve(data.file)).expanduser()
    if path.is_file():
        return path
    folder = data_dir()
    below = folder / path if folder else None
    if below is not None and below.is_file():
        return below
    also = f" (nor {below})" if below is not None else ""
    raise SafemergeError(
        f"{path} does not exist{also}; give data.file as JSON lines, JSON, CSV or Parquet, or "
        f"set {DATA_DIR} to the folder it is in."
    )


# Two: the seeds of a configuration usually share their rows, and they are not small.
@lru_cache(maxsize=2)
def _task_rows(data: TaskData, split_seed: int, _data_dir: Path | None) -> TuningData:
    return task_rows(data, split_seed)


@lru_cache(maxsize=2)
def _own_rows(
    path: Path, _state: tuple[int, int], split_seed: int, share: float | None, system_prompt: str
) -> TuningData:
    rows = rows_of_file(path)
    return own_rows(str(path), path.name, rows, split_seed, share, system_prompt)


@lru_cache(maxsize=2)
def _hub_rows(
    data: HubData, split_seed: int, share: float | None, system_prompt: str
) -> TuningData:
    rows = rows_of_hub(data.hub, data.config, data.split, data.revision)
    return own_rows(data.hub, data.hub, rows, split_seed, share, system_prompt)
