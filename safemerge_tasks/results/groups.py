"""Groups of tasks, whose rates follow those of their tasks when these are judged again.

A group's rate is the plain mean over its tasks, as in the groups that come with safemerge: every
suite counts alike, however many questions it has, and each with its own scored questions only.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from safemerge_tasks.results.category_rows import is_subcategory_row
from safemerge_tasks.results.stored import CORRECTED, replace_rates

Rates = dict[str, float | str]


def update_groups(
    summary: dict[str, Any], judge: str, higher_is_better: Callable[[str], bool]
) -> Iterator[tuple[str, Rates]]:
    """Bring every group of a results file up to its tasks, and return its rows for a judge.

    Args:
        summary: the results file, with its tasks' new rows.
        judge: the name of the judge whose rows are new.
        higher_is_better: the direction of a metric.
    """
    subtasks: Mapping[str, list[str]] = summary.get("group_subtasks") or {}
    for group in subtasks:
        leaves = list(_leaves(group, subtasks))
        results = [summary["results"].get(leaf, {}) for leaf in leaves]
        table = _mean(results, judge)
        if not table:
            _drop_stale(summary, group, results, judge)
            continue
        for part in ("results", "groups"):
            row = summary.setdefault(part, {}).setdefault(group, {"name": group, "alias": group})
            replace_rates(row, table, judge)
        directions = summary.setdefault("higher_is_better", {}).setdefault(group, {})
        directions |= {
            key.partition(",")[0]: higher_is_better(key.partition(",")[0])
            for key in table
            if "_stderr," not in key
        }
        yield group, table


def _drop_stale(
    summary: dict[str, Any], group: str, results: list[Mapping[str, Any]], judge: str
) -> None:
    """Take rates of a judge who is not every task's, and of none any more, from a group."""
    put_off = any(key.endswith(",deferred") for result in results for key in result)
    gone = (f",{judge}",) if put_off else (f",{judge}", ",deferred")
    for part in ("results", "groups"):
        row = (summary.get(part) or {}).get(group) or {}
        for key in [key for key in row if key.endswith(gone)]:
            del row[key]


def _leaves(group: str, subtasks: Mapping[str, list[str]]) -> Iterator[str]:
    for name in subtasks[group]:
        if name in subtasks:
            yield from _leaves(name, subtasks)
        else:
            yield name


def _mean(results: list[Mapping[str, Any]], judge: str) -> Rates:
    """Return the mean of the rates that every task has, with the error of a mean of means."""
    table: Rates = {}
    for key in results[0] if results else ():
        metric, _, name = key.partition(",")
        # A sub-category's row stays with its task.
        wanted = name == judge and not (metric.endswith("_stderr") or is_subcategory_row(metric))
        if not wanted or metric == CORRECTED or not all(key in result for result in results):
            continue
        stored = [result.get(f"{metric}_stderr,{judge}") for result in results]
        errors = [error for error in stored if isinstance(error, float)]
        table[key] = math.fsum(result[key] for result in results) / len(results)
        table[f"{metric}_stderr,{judge}"] = (
            math.hypot(*errors) / len(errors) if len(errors) == len(stored) else "N/A"
        )
    return table
