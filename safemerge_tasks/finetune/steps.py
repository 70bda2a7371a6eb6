"""How many steps there are, and how a batch is divided over processes."""

import math
from dataclasses import dataclass

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.config import FinetuneConfig


@dataclass(frozen=True)
class Steps:
    """The steps of one fine-tuning.

    Attributes:
        schedule: of all epochs; the learning rate follows these.
        last: the one after which training stops.
    """

    schedule: int
    last: int


def steps_of(config: FinetuneConfig, rows: int) -> Steps:
    """Return the steps for a number of training rows."""
    schedule = config.epochs * math.ceil(rows / config.batch_size)
    return Steps(schedule, min(config.checkpoint_step or schedule, schedule))


@dataclass(frozen=True)
class Batches:
    """What one process computes: `rows` at once, `accumulated` times a step."""

    rows: int
    accumulated: int


def batches_of(config: FinetuneConfig, processes: int) -> Batches:
    """Return how a batch is divided.

    Raises:
        SafemergeError: it cannot be divided evenly.
    """
    share, left = divmod(config.batch_size, processes)
    if left or not share:
        raise SafemergeError(
            f"batch_size {config.batch_size} cannot be divided over {processes} processes; change "
            "it or --num_processes."
        )
    rows = min(config.micro_batch_size or share, share)
    if share % rows:
        raise SafemergeError(
            f"micro_batch_size {rows} does not divide the {share} rows of a process; give a "
            "divisor."
        )
    return Batches(rows, share // rows)
