"""Questions in a JSON file of any of the shapes that question sets are published in.

Lists of strings, lists of objects, and objects that nest categories: category → questions, or
category → subcategory → questions. JSON lines are a list of objects (or strings), one a line.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.utf8_file import read_utf8
from safemerge_tasks.suites.spec import SuiteSpec
from safemerge_tasks.suites.table import Table

SHAPES = (
    "a list of strings, a list of objects, or an object of categories, subcategories and lists of "
    "strings"
)


def read_json(path: Path, spec: SuiteSpec) -> Table:
    """Return a JSON file's rows; nested categories become columns under the suite's names.

    The content tells JSON from JSON lines, because both are published under both names.

    Raises:
        SafemergeError: not JSON, or of another shape.
    """
    text = read_utf8(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise SafemergeError(
                f"{path} is not JSON (line {error.lineno}: {error.msg}); replace it."
            ) from error
        content = _lines(path, text)
    return _table(path, spec, content)


def read_jsonl(path: Path, spec: SuiteSpec) -> Table:
    """Return the rows of a file with one JSON object a line, or of one array of them.

    Raises:
        SafemergeError: a line is not JSON, or lines differ in shape.
    """
    text = read_utf8(path)
    if text.lstrip()[:1] == "[":
        return read_json(path, spec)
    return _table(path, spec, _lines(path, text))


def _lines(path: Path, text: str) -> list[Any]:
    content = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                content.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise SafemergeError(
                    f"{path}, line {number} is not JSON ({error.msg}); correct it."
                ) from error
    return content


def _table(path: Path, spec: SuiteSpec, content: Any) -> Table:
    names = _Names(spec)
    if isinstance(content, dict):
        rows = list(_nested(path, names, content))
    elif isinstance(content, list) and all(isinstance(item, str) for item in content):
        rows = [{names.question: item} for item in content]
    elif isinstance(content, list) and all(isinstance(item, dict) for item in content):
        rows = content
    else:
        raise SafemergeError(f"{path} is not {SHAPES}; convert it.")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return Table(str(path), columns, rows)


class _Names:
    """What the columns of shapes without column names are called."""

    def __init__(self, spec: SuiteSpec) -> None:
        first = spec.question[0] if isinstance(spec.question, tuple) else spec.question
        self.question = _or(first, "question")
        self.category = _or(spec.category, "category")
        self.subcategory = _or(spec.subcategory, "subcategory")


def _or(column: str | int | None, name: str) -> str:
    return column if isinstance(column, str) else name


def _nested(path: Path, names: _Names, content: dict[str, Any]) -> Iterator[dict[str, str]]:
    for category, below in content.items():
        groups = below if isinstance(below, dict) else {"": below}
        for subcategory, texts in groups.items():
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise SafemergeError(f"{path} is not {SHAPES}; convert it.")
            for text in texts:
                row = {names.question: text, names.category: category}
                yield row if groups is not below else {**row, names.subcategory: subcategory}
