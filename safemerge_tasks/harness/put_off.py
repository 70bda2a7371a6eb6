"""`python -m safemerge_tasks.harness.put_off`: lm_eval's command line with judging put off.

Besides, its tasks can be asked for under attacks, as in `--tasks advbench_asr@prefill:5`.
"""

import sys
from unittest.mock import patch

from lm_eval._cli import HarnessCLI
from lm_eval.utils import setup_logging

from safemerge_tasks.harness.attacked_tasks import AllAttackedTasks
from safemerge_tasks.harness.command_line import read_arguments


def main() -> None:
    """Do what `lm_eval` does."""
    setup_logging()
    asked = read_arguments(sys.argv[1:])
    with patch("lm_eval.tasks.TaskManager", AllAttackedTasks):
        HarnessCLI().execute(asked.lm_eval)


if __name__ == "__main__":
    main()
