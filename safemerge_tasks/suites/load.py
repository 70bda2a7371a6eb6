"""Questions of a suite in one normal form, checked."""

import ast
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.results.category_rows import slug
from safemerge_tasks.suites.checks import kept_rows, problems_of, whole_question
from safemerge_tasks.suites.near_duplicates import mark_near_duplicates
from safemerge_tasks.suites.reading import read_part
from safemerge_tasks.suites.sampling import Question, divide, draw_sample, places_of
from safemerge_tasks.suites.sources import is_published, local_file
from safemerge_tasks.suites.spec import Part, SuiteSpec
from safemerge_tasks.suites.table import Row, Table

ID_LENGTH = 12

TARGET = "target"
"""The key of how a harmful answer begins, in questions of suites that have a column of it."""


def load_suite(spec: SuiteSpec) -> list[Question]:
    """Return the suite's questions in the order of the source.

    A question has the keys `id`, `question`, `category`, `subcategory`, `language` and `cluster`,
    those of `fields`, and `target` where the suite names its column, all strings; what it has not
    is the empty string. What is no text in the source is JSON, except that a list of strings
    becomes the lines of a `reference`. A question is what its source has, outer white space
    included: chat templates differ in whether they strip it.
    The id is the suite's name, a hash of the stripped text and a running number among equal texts,
    so it survives duplicates and re-ordering. The cluster is the same for translations of one
    question: category, subcategory and the place within it, or the question's number; or for
    questions that ask nearly the same. Where it is empty the question stands for itself.

    Raises:
        SafemergeError: a file is missing, or its rows or columns are not what the suite says.
    """
    questions: list[Question] = []
    seen: Counter[str] = Counter()
    for part in spec.parts:
        for question in _read(spec, part):
            told = question["question"].strip()
            seen[told] += 1
            digest = hashlib.sha256(told.encode()).hexdigest()[:ID_LENGTH]
            questions.append({"id": f"{spec.suite}-{digest}-{seen[told]}", **question})
    if spec.parallel:
        _add_clusters(questions)
    if spec.near_duplicates is not None:
        mark_near_duplicates(questions, spec.near_duplicates)
    if spec.sample:
        questions = draw_sample(questions, spec.sample, spec.suite)
    return divided(spec, questions) if spec.hold_out else questions


def divided(spec: SuiteSpec, questions: list[Question]) -> list[Question]:
    """Return the part of a suite's questions that its `hold_out` keeps.

    Raises:
        SafemergeError: nothing would be left of a part, or the authors' own draw has other rows.
    """
    held, whole = spec.hold_out, spec.parts[0]
    assert held is not None
    file = held.drawn.get(held.seed)
    if file is None or held.keep == "all" or not is_published(spec, whole):
        return divide(questions, held, spec.suite)
    here = local_file(spec, whole)
    beside = here.parent / file if here else None
    part = Part(file=str(beside) if beside and beside.is_file() else file)
    try:
        places = places_of(list(_read(spec.model_copy(update={"parts": (part,)}), part)), questions)
    except KeyError as error:
        raise SafemergeError(
            f"{file} has a row that {whole.file} has not; take both from the same commit."
        ) from error
    return [one for at, one in enumerate(questions) if (at in places) == (held.keep == "held_out")]


def _read(spec: SuiteSpec, part: Part) -> Iterator[Question]:
    table = read_part(spec, part)
    if table is None:
        return
    for problem in problems_of(spec, table):
        raise SafemergeError(problem)
    yield from _questions(spec, part, table)


def _questions(spec: SuiteSpec, part: Part, table: Table) -> Iterator[Question]:
    text = table.name_of(spec.question)
    fields = {key: table.first_of(columns) for key, columns in spec.fields.items()}
    for _, row in kept_rows(spec, table):
        yield {
            "question": whole_question(spec, row, text),
            "category": _name(table, row, spec.category) or part.category or "",
            "subcategory": _name(table, row, spec.subcategory),
            "language": spec.language,
            # The same in the suites of all languages, which share their file.
            "cluster": f"{Path(part.file).stem}/{row[spec.cluster]}" if spec.cluster else "",
            **(
                {TARGET: _text(TARGET, row[table.name_of(spec.target)] or "")}
                if spec.target
                else {}
            ),
            **{key: _text(key, row[column]) if column else "" for key, column in fields.items()},
        }


def _name(table: Table, row: Row, column: str | int | None) -> str:
    """Return a category's name as all copies of a set spell it: some end it with a colon."""
    cell = None if column is None else _first(row.get(table.name_of(column)))
    return "" if cell is None else " ".join(str(cell).split()).rstrip(": ")


def _first(cell: object) -> object:
    """Return a list's first element, also of one that CSV spells out; anything else as it is."""
    if isinstance(cell, str) and cell.startswith("['"):
        try:
            cell = ast.literal_eval(cell)
        except (ValueError, SyntaxError):
            return cell
    return (cell[0] if cell else None) if isinstance(cell, list) else cell


def _text(key: str, cell: object) -> str:
    if isinstance(cell, str):
        return cell.strip()
    if key == "reference" and isinstance(cell, list) and all(isinstance(x, str) for x in cell):
        return "\n".join(cell).strip()
    return json.dumps(cell, ensure_ascii=False)


def _add_clusters(questions: list[Question]) -> None:
    places: Counter[str] = Counter()
    for question in questions:
        group = f"{slug(question['category'])}/{slug(question['subcategory'])}"
        places[group] += 1
        question["cluster"] = f"{group}/{places[group]}"
