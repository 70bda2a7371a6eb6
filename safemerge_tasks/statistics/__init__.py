"""Intervals, paired tests and the gate's rule; every docstring names its estimator and source."""

from safemerge_tasks.statistics.intervals import (
    clopper_pearson_interval,
    interval_over_units,
    wilson_interval,
)

__all__ = ["clopper_pearson_interval", "interval_over_units", "wilson_interval"]
