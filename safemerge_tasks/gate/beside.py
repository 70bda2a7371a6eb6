"""What changed beside harm, over-refusal and utility, where no policy asks for it."""

from collections.abc import Iterator
from typing import NamedTuple

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.comparison import Comparison, compare_check
from safemerge_tasks.gate.decision import GateResult
from safemerge_tasks.gate.pairing import differences, pair
from safemerge_tasks.gate.plan import Check, common_judges, default_check
from safemerge_tasks.gate.policy import Policy


class Beside(NamedTuple):
    """A task's main metric in both evaluations; nothing is decided.

    Attributes:
        task: its name.
        change: how it changed; None where the two cannot be compared.
        reason: why not.
    """

    task: str
    change: Comparison | None
    reason: str = ""


def beside(result: GateResult) -> list[Beside]:
    """Return the tasks in both evaluations that are not about harm and were not checked."""
    checked = {one.task for one in result.checks}
    return [
        found
        for task, data in result.baseline.tasks.items()
        if task in result.candidate.tasks and task not in checked and not data.is_safety
        for found in _one(result, task)
    ]


def _one(result: GateResult, task: str) -> Iterator[Beside]:
    old, new = result.baseline.tasks[task], result.candidate.tasks[task]
    for judge in common_judges(task, result.baseline, result.candidate):
        check = default_check(task, judge, Policy(), old)
        if check is None:
            continue
        try:
            yield _compared(result, check)
        except SafemergeError as error:
            yield Beside(task, None, str(error).rstrip("."))
        return
    if not old.judged_by() or not new.judged_by():
        yield Beside(task, None, "it has no result in one of the two")


def _compared(result: GateResult, check: Check) -> Beside:
    task = check.task
    sides = result.baseline.tasks[task], result.candidate.tasks[task]
    pairs = pair(*(one.scores.get(check.judge) for one in sides))
    differing = dict.fromkeys(one.what for one in differences(task, *sides, check.judge, pairs))
    if differing:
        return Beside(task, None, f"{', '.join(differing)} differ")
    return Beside(task, compare_check(check, pairs, result.baseline, result.candidate))
