"""`python -m safemerge_tasks.harness.put_off N …`: lm_eval's command line with judging put off.

Besides, its tasks can be asked for under attacks, as in `--tasks advbench_asr@prefill:5`. How far
it is goes to the descriptor N.
"""

import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

from lm_eval._cli import HarnessCLI
from lm_eval.utils import setup_logging

from safemerge_tasks.common.bars import told
from safemerge_tasks.harness.attacked_tasks import AllAttackedTasks
from safemerge_tasks.harness.command_line import read_arguments
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.harness.telling import Teller


def main() -> None:
    """Do what `lm_eval` does."""
    teller = Teller(int(sys.argv[1]))
    setup_logging()
    logging.basicConfig(level=logging.WARNING)
    for name in ("", "lm_eval"):  # which hands nothing on
        logging.getLogger(name).addHandler(teller)
    asked = read_arguments(sys.argv[2:])
    LiveEvaluation.put_off = True
    manager = partial(task_manager, asked.lm_eval.tasks)
    with patch("lm_eval.tasks.TaskManager", manager), told(teller.bar):
        try:
            HarnessCLI().execute(asked.lm_eval)
        except SystemExit as end:
            if isinstance(end.code, str):  # one of our sentences
                teller.tell("said", end.code.removeprefix("safemerge: "))
            raise


def task_manager(
    tasks: Sequence[str] | None, include_path: Any = None, metadata: Any = None
) -> AllAttackedTasks:
    """Return lm-eval's tasks, or only those near where these are all that is asked for.

    Args:
        tasks: names; None where a --config has them.
        include_path: as lm-eval gives it.
        metadata: as lm-eval gives it.
    """
    near = AllAttackedTasks.near(include_path, metadata or {})
    if tasks and near.has(tasks):
        return near
    return AllAttackedTasks(include_path=include_path, metadata=metadata)


if __name__ == "__main__":
    main()
