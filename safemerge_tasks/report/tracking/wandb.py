"""Weights & Biases. `WANDB_PROJECT`, `WANDB_MODE` and the like are its own settings."""

import os
from collections.abc import Sequence

import wandb

from safemerge_tasks.report.tracking import PROJECT, Record


def send(records: Sequence[Record]) -> None:
    """Keep each record as a run."""
    # By default it would also send what is printed, which may be answers, and the command line.
    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        silent=True,
    )
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    for one in records:
        with wandb.init(
            project=project, name=one.name, config=dict(one.settings), settings=settings
        ) as run:
            run.log(dict(one.figures))
