"""What got worse in which category, language and attack, beside what a policy asks for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal, get_args

from safemerge_tasks.gate.attacked import attacked
from safemerge_tasks.gate.comparison import (
    Comparison,
    NothingToCompareError,
    compare_check,
    confidence_of,
)
from safemerge_tasks.gate.decision import GateResult
from safemerge_tasks.gate.pairing import QuestionPair, pair
from safemerge_tasks.gate.plan import Check
from safemerge_tasks.statistics.decision import holm

Part = Literal["category", "language"]
PARTS: tuple[Part, ...] = get_args(Part)


def group_changes(result: GateResult) -> list[Comparison]:
    """Return the change of every category, language and attack that was checked, nothing decided.

    Each has a `family_p` that holds for all of them together (Holm), since among many groups some
    look worse by chance. Tasks without samples, or with one group only, have no categories and
    languages; a suite that was put in one way only has no attacks.
    """
    whole = [one for one in result.comparisons if not one.check.category and _judged(result, one)]
    found = [
        change
        for one in whole
        if one.paired
        for part in PARTS
        for change in _changes(result, one, part)
    ]
    found += _attacks(whole)
    adjusted = holm([one.least.p_value for one in found])
    return [replace(one, family_p=p) for one, p in zip(found, adjusted, strict=True)]


def worse(changes: Iterable[Comparison]) -> list[Comparison]:
    """Return the groups with more for the worse, those that are so for sure first."""
    found = [one for one in changes if one.increase.value > 0]
    return sorted(found, key=lambda one: (one.family_p, -one.increase.value, one.check.name))


def surely(change: Comparison) -> bool:
    """Return whether a group's change for the worse is more than chance among all groups."""
    assert change.family_p is not None
    return change.family_p < 1 - confidence_of(change.check)


def _judged(result: GateResult, one: Comparison) -> bool:
    return result.candidate.tasks[one.check.task].asks_questions


def _changes(result: GateResult, one: Comparison, part: Part) -> Iterator[Comparison]:
    check = one.check
    sides = (
        side.tasks[check.task].scores[check.judge] for side in (result.baseline, result.candidate)
    )
    groups: dict[str, list[QuestionPair]] = {}
    for both in pair(*sides) or ():
        if name := getattr(both.candidate, part):
            groups.setdefault(name, []).append(both)
    for name, some in groups.items() if len(groups) > 1 else ():
        try:
            yield compare_check(_within(check, part, name), some, result.baseline, result.candidate)
        except NothingToCompareError:
            # None of its questions has a verdict in both, which the whole task's figures count.
            continue


def _attacks(whole: Iterable[Comparison]) -> Iterator[Comparison]:
    """Yield the tasks that ask one suite in several ways, an attack with the same attack."""
    suites: dict[tuple[str, str, str], list[Comparison]] = {}
    for one in whole:
        key = attacked(one.check.task).suite, one.check.judge, one.check.metric
        suites.setdefault(key, []).append(one)
    for some in suites.values():
        for one in some if len(some) > 1 else ():
            yield replace(one, check=replace(one.check, attack=attacked(one.check.task).attack))


def _within(check: Check, part: Part, name: str) -> Check:
    return replace(check, category=name) if part == "category" else replace(check, language=name)
