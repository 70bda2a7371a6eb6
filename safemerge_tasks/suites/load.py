"""Questions of a suite in one normal form, checked."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.metrics.asr import slug
from safemerge_tasks.suites.checks import kept_rows, problems_of
from safemerge_tasks.suites.near_duplicates import mark_near_duplicates
from safemerge_tasks.suites.reading import read_part
from safemerge_tasks.suites.sampling import Question, divide, draw_sample
from safemerge_tasks.suites.spec import Part, SuiteSpec
from safemerge_tasks.suites.table import Row, Table

ID_LENGTH = 12


def load_suite(spec: SuiteSpec) -> list[Question]:
    """Return the suite's questions in the order of the source.

    A question has the keys `id`, `question`, `category`, `subcategory`, `language` and `cluster`,
    and those of `fields`, all strings; what it has not is the empty string. What is no text in the
    source is JSON, except that a list of strings becomes the lines of a `reference`. The id is the
    suite's name, a hash of the text and a running number among equal texts, so it survives
    duplicates and re-ordering. The cluster is the same for translations of one question: category,
    subcategory and the place within it; or for questions that ask nearly the same. Where it is
    empty the question stands for itself.

    Raises:
        SafemergeError: a file is missing, or its rows or columns are not what the suite says.
    """
    questions: list[Question] = []
    seen: Counter[str] = Counter()
    for part in spec.parts:
        table = read_part(spec, part)
        if table is None:
            continue
        for problem in problems_of(spec, table):
            raise SafemergeError(problem)
        for question in _questions(spec, part, table):
            seen[question["question"]] += 1
            digest = hashlib.sha256(question["question"].encode()).hexdigest()[:ID_LENGTH]
            number = seen[question["question"]]
            questions.append({"id": f"{spec.suite}-{digest}-{number}", **question})
    if spec.parallel:
        _add_clusters(questions)
    if spec.near_duplicates is not None:
        mark_near_duplicates(questions, spec.near_duplicates)
    if spec.sample:
        questions = draw_sample(questions, spec.sample, spec.suite)
    return divide(questions, spec.hold_out, spec.suite) if spec.hold_out else questions


def _questions(spec: SuiteSpec, part: Part, table: Table) -> Iterator[Question]:
    text = table.name_of(spec.question)
    fields = {key: table.first_of(columns) for key, columns in spec.fields.items()}
    for _, row in kept_rows(spec, table):
        yield {
            "question": row[text].strip(),
            "category": _name(table, row, spec.category) or part.category or "",
            "subcategory": _name(table, row, spec.subcategory),
            "language": spec.language,
            "cluster": "",
            **{key: _text(key, row[column]) for key, column in fields.items()},
        }


def _name(table: Table, row: Row, column: str | int | None) -> str:
    """Return a category's name as all copies of a set spell it: some end it with a colon."""
    cell = None if column is None else row.get(table.name_of(column))
    return "" if cell is None else " ".join(str(cell).split()).rstrip(": ")


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
