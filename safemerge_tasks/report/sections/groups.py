"""The ASR by category and by language."""

from collections.abc import Iterator
from typing import Literal

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.reading import Evaluated, Model, TaskData, category_key
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.wording import cell

PLURALS = {"category": "categories", "language": "languages"}


@section(30)
def categories(evaluated: Evaluated) -> Section:
    """Return a folded table a task."""
    return Section("By category", (), tuple(_tables(evaluated, "category", least=1)))


@section(40)
def languages(evaluated: Evaluated) -> Section:
    """Return a table for each task that has several."""
    return Section("By language", (), tuple(_tables(evaluated, "language", least=2)))


def _tables(
    evaluated: Evaluated, part: Literal["category", "language"], least: int
) -> Iterator[Table]:
    tasks: dict[str, list[tuple[Model, TaskData]]] = {}
    for model, task in evaluated.tasks(lambda task: task.result.is_safety):
        tasks.setdefault(task.name, []).append((model, task))
    for name, found in tasks.items():
        head: list[Words] = [part]
        rows: dict[str, dict[int, str]] = {}
        names: dict[str, str] = {}
        for model, task in found:
            for judge in task.result.judged_by():
                metric = task.headline(judge)
                groups = task.by_group(judge, metric, part) if metric else {}
                for group, measure in groups.items():
                    key = category_key(group)
                    names.setdefault(key, group)
                    rows.setdefault(key, {})[len(head)] = cell(measure)
                if groups:
                    head.append(Name(f"{model.label}, {judge}"))
        if len(rows) < least:
            continue
        body: list[tuple[Words, ...]] = [
            (Name(names[key]), *(row.get(place, "") for place in range(1, len(head))))
            for key, row in sorted(rows.items())
        ]
        title = (Name(name), f"{len(rows):,} {PLURALS[part]}")
        yield Table(tuple(head), tuple(body), title, folded=part == "category")
