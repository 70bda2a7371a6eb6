"""The training and validation rows of a configuration."""

from functools import lru_cache

from safemerge_tasks.finetune.config import FileData, FinetuneConfig, TaskData
from safemerge_tasks.finetune.exchanges import TuningData
from safemerge_tasks.finetune.own_rows import own_rows
from safemerge_tasks.finetune.task_rows import task_rows


def load_data(config: FinetuneConfig, seed: int) -> TuningData:
    """Return the rows of the fine-tuning of one seed.

    Raises:
        SafemergeError: the data is missing or wrong, with file and line.
    """
    return _loaded(
        config.data, config.split_seed_of(seed), config.validation_share, config.system_prompt
    )


# Two: the seeds of a configuration usually share their rows, and they are not small.
@lru_cache(maxsize=2)
def _loaded(
    data: TaskData | FileData, split_seed: int, share: float | None, system_prompt: str | None
) -> TuningData:
    if isinstance(data, TaskData):
        return task_rows(data, split_seed)
    return own_rows(data, split_seed, share, system_prompt or "")
