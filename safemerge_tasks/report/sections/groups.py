"""The ASR by category and by language."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from safemerge_tasks.report.document import Name, Section, Table, Words
from safemerge_tasks.report.measure import Measure
from safemerge_tasks.report.reading import Evaluated, Model, TaskData
from safemerge_tasks.report.sections import section
from safemerge_tasks.report.wording import PREFIXES, cell
from safemerge_tasks.results.category_rows import slug

PLURALS = {"category": "categories", "language": "languages"}


@section(30)
def categories(evaluated: Evaluated) -> Section:
    """Return a folded table a task."""
    return Section("By category", (), tuple(_tables(evaluated, "category", least=1)))


@section(40)
def languages(evaluated: Evaluated) -> Section:
    """Return a table for each task that has several."""
    return Section("By language", (), tuple(_tables(evaluated, "language", least=2)))


class _Column(NamedTuple):
    """One model and judge.

    Attributes:
        groups: name → its measure.
        exact: the names are the suite's, and not older results' lower-case words.
        prefix: what the rates are called where they are no ASR.
    """

    groups: Mapping[str, Measure]
    exact: bool
    prefix: str


def _rows(columns: Sequence[_Column]) -> dict[str, dict[int, str]]:
    """Return name → place of a column → cell; older names join the one name they stand for."""
    rows: dict[str, dict[int, str]] = {}
    names: dict[str, list[str]] = {}
    for group in {group for column in columns if column.exact for group in column.groups}:
        names.setdefault(slug(group), []).append(group)
    for place, column in enumerate(columns):
        for group, measure in column.groups.items():
            meant = [group] if column.exact else names.get(group, [])
            row = rows.setdefault(meant[0] if len(meant) == 1 else group, {})
            row[place] = f"{column.prefix}{cell(measure)}"
    return rows


def _tables(
    evaluated: Evaluated, part: Literal["category", "language"], least: int
) -> Iterator[Table]:
    tasks: dict[str, list[tuple[Model, TaskData]]] = {}
    for model, task in evaluated.tasks(lambda task: task.result.is_safety):
        tasks.setdefault(task.name, []).append((model, task))
    for name, found in tasks.items():
        head: list[Words] = [part]
        columns: list[_Column] = []
        for model, task in found:
            for judge in task.result.judged_by():
                metric = task.headline(judge)
                groups = task.by_group(judge, metric, part) if metric else {}
                if metric and groups:
                    columns.append(_Column(groups, task.knows_names(judge), PREFIXES[metric]))
                    head.append(Name(f"{model.label}, {judge}"))
        rows = _rows(columns)
        if len(rows) < least:
            continue
        body: list[tuple[Words, ...]] = [
            (Name(group), *(row.get(place, "") for place in range(len(columns))))
            for group, row in sorted(rows.items(), key=lambda one: one[0].casefold())
        ]
        title = (Name(name), f"{len(rows):,} {PLURALS[part]}")
        yield Table(tuple(head), tuple(body), title, folded=part == "category")
