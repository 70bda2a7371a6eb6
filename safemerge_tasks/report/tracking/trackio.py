"""Trackio, which keeps runs on this machine unless `TRACKIO_SPACE_ID` names a Space."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import trackio

from safemerge_tasks.report.tracking import PROJECT, Record


def send(records: Sequence[Record]) -> None:
    """Keep each record as a run."""
    # It prints how to see the runs, where programs may read our own output.
    with redirect_stdout(sys.stderr):
        for one in records:
            trackio.init(
                project=PROJECT,
                name=one.name,
                config=dict(one.settings),
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            trackio.log(dict(one.figures))
            trackio.finish()
