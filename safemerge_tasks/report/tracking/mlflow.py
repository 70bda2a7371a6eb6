"""MLflow. `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME` are its own settings."""

import os
from collections.abc import Sequence

import mlflow

from safemerge_tasks.report.tracking import PROJECT, Record

_EXPERIMENT = ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID")


def send(records: Sequence[Record]) -> None:
    """Keep each record as a run."""
    if not any(name in os.environ for name in _EXPERIMENT):
        mlflow.set_experiment(PROJECT)
    for one in records:
        with mlflow.start_run(run_name=one.name):
            mlflow.log_params(dict(one.settings))
            mlflow.log_metrics(dict(one.figures))
