"""What can be wrong with a part's rows, one sentence each, never quoting a question."""

import json
from collections.abc import Iterator, Sequence

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.unicode import valid_unicode
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.table import Row, Table, only, shortened

MAX_NUMBERS = 5

BELOW_CONTEXT = "\n\n---\n\n"
"""Between a context and the question about it: HarmBench's own (its `DirectRequest`)."""


def problems_of(spec: SuiteSpec, table: Table) -> Iterator[str]:
    """Yield what is wrong with a part's rows; the first of them is the one to mend first."""
    if spec.columns is not None and set(table.columns) != set(spec.columns):
        yield (
            f"{table.source} has the columns {shortened(table.columns)}, expected "
            f"{', '.join(spec.columns)}; replace it with the original file of {spec.suite}."
        )
        return
    missing = list(_missing_columns(spec, table))
    if missing:
        yield from missing
        return
    rows = kept_rows(spec, table)
    if spec.rows is not None and len(rows) != spec.rows:
        kept = "".join(
            f" with {column} {' or '.join(map(repr, _several(value)))}"
            for column, value in spec.where.items()
        )
        one_more = not spec.header and len(rows) == spec.rows + 1
        more = " and no header row" if one_more else ""
        yield (
            f"{table.source} has {len(rows)} questions{kept}, expected {spec.rows}{more}; "
            f"replace it with the original file of {spec.suite}."
        )
    text = table.name_of(spec.question)
    questions = [(number, only(row.get(text))) for number, row in rows]
    empty = [number for number, question in questions if _is_empty(question)]
    if empty:
        yield f"{table.source}, {numbered(empty)}: the question is empty; fill or remove it."
    other = [n for n, question in questions if not _is_empty(question) and not _is_text(question)]
    if other:
        yield f"{table.source}, {numbered(other)}: the question is not text; correct it."
    used = (spec.question, spec.context, spec.category, spec.subcategory, spec.target)
    named = [table.name_of(one) for one in used if one is not None]
    named += filter(None, (table.first_of(columns) for columns in spec.fields.values()))
    halves = [number for number, row in rows if not all(_is_whole(row.get(one)) for one in named)]
    if halves:
        yield (
            f"{table.source}, {numbered(halves)}: half of a character (a lone surrogate); write it "
            "whole."
        )
    for key, columns in spec.fields.items():
        column = table.first_of(columns)
        bare = [number for number, row in rows if column and _is_empty(row.get(column))]
        if bare:
            yield f"{table.source}, {numbered(bare)}: the {key} is empty; fill or remove the row."
    if spec.cluster is not None:
        bare = [number for number, row in rows if _is_empty(row.get(spec.cluster))]
        if bare:
            yield f"{table.source}, {numbered(bare)}: {spec.cluster} is empty; fill it."
    if spec.parallel:
        yield from _untranslated_names(spec, table, rows)


def duplicates_of(spec: SuiteSpec, table: Table) -> Iterator[str]:
    """Yield a sentence if questions repeat, which is an error only in a set of one's own."""
    text = table.name_of(spec.question)
    seen: set[str] = set()
    again: list[int] = []
    for number, row in kept_rows(spec, table):
        question = whole_question(spec, row, text).strip()
        if question and question in seen:
            again.append(number)
        seen.add(question)
    if again:
        yield (
            f"{table.source}, {numbered(again)}: the question stands further up already; remove it "
            "or say `duplicates: true`."
        )


def kept_rows(spec: SuiteSpec, table: Table) -> list[tuple[int, Row]]:
    """Return the rows that `where` and `skip_empty` keep, each with its number in the file."""
    found = [table.name_of(spec.question), *map(table.first_of, spec.fields.values())]
    needed = [column for column in found if column is not None]
    return [
        (number, row)
        for number, row in enumerate(table.rows, start=table.first)
        if all(
            str(row.get(column, "")).strip() in _several(value)
            for column, value in spec.where.items()
        )
        and not (spec.skip_empty and any(_is_empty(row.get(column)) for column in needed))
    ]


def whole_question(spec: SuiteSpec, row: Row, column: str) -> str:
    """Return a row's question, after its context where it has one, as HarmBench puts them."""
    cell = only(row.get(column))
    question = cell if isinstance(cell, str) else ""
    context = row.get(spec.context) if spec.context else None
    return question if _is_empty(context) else f"{context}{BELOW_CONTEXT}{question}"


def numbered(numbers: Sequence[int]) -> str:
    """Return "row 4" or "rows 4, 9 and 2 more"."""
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    named = ", ".join(str(number) for number in numbers[:MAX_NUMBERS])
    more = len(numbers) - MAX_NUMBERS
    return f"rows {named} and {more} more" if more > 0 else f"rows {named}"


def _missing_columns(spec: SuiteSpec, table: Table) -> Iterator[str]:
    named = (
        spec.question,
        spec.context,
        spec.category,
        spec.subcategory,
        spec.cluster,
        spec.target,
    )
    for column in (*named, *spec.where):
        if column is not None:
            try:
                table.name_of(column)
            except SafemergeError as error:
                yield str(error)
    for columns in spec.fields.values():
        try:
            table.first_of(columns)
        except SafemergeError as error:
            yield str(error)


def _untranslated_names(
    spec: SuiteSpec, table: Table, rows: list[tuple[int, Row]]
) -> Iterator[str]:
    assert spec.category is not None
    assert spec.subcategory is not None
    names = (table.name_of(spec.category), table.name_of(spec.subcategory))
    foreign = [n for n, row in rows if not all(str(row.get(name)).isascii() for name in names)]
    if foreign:
        yield (
            f"{table.source}, {numbered(foreign)}: the category is not in English, so questions "
            "cannot be paired across languages; use the original file."
        )


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _is_empty(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _is_whole(cell: object) -> bool:
    """Return whether a cell can be written as UTF-8; JSON can hold halves of surrogate pairs."""
    text = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)
    return valid_unicode(text) == text


def _is_text(cell: object) -> bool:
    return isinstance(cell, str)
