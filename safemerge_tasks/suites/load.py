"""Questions of a suite in one normal form, checked."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from safemerge_tasks.errors import SafemergeError
from safemerge_tasks.suites.sources import locate
from safemerge_tasks.suites.spec import Part, SuiteSpec

Question = dict[str, str]
"""`id`, `question`, `category`, `language`, all strings; no category is the empty string."""

ID_LENGTH = 12


def load_suite(spec: SuiteSpec) -> list[Question]:
    """Return the suite's questions in the order of the source.

    An id is the suite's name, a hash of the question's text and a running number among equal
    texts, so it survives duplicates and re-ordering.

    Raises:
        SafemergeError: a file is missing, or its rows or columns are not what the suite says.
    """
    questions: list[Question] = []
    seen: Counter[str] = Counter()
    for part in spec.parts:
        path = locate(spec, part)
        if path is None:
            continue
        for text, category in _rows(spec, part, path):
            seen[text] += 1
            digest = hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]
            questions.append(
                {
                    "id": f"{spec.suite}-{digest}-{seen[text]}",
                    "question": text,
                    "category": category,
                    "language": spec.language,
                }
            )
    return questions


def _rows(spec: SuiteSpec, part: Part, path: Path) -> Iterator[tuple[str, str]]:
    table = _read_csv(path)
    if spec.header:
        header, table = _without_header(spec, path, table)
        column = _position(header, spec.question, path)
        category = None if spec.category is None else _position(header, spec.category, path)
    else:
        column = int(spec.question)
        category = None if spec.category is None else int(spec.category)
        _check_headerless(spec, path, table, column)
    if spec.rows is not None and len(table) != spec.rows:
        one_more = not spec.header and len(table) == spec.rows + 1
        more = " and no header row" if one_more else ""
        raise SafemergeError(
            f"{path} has {len(table)} questions, expected {spec.rows}{more}; "
            f"replace it with the original file of {spec.suite}."
        )
    for number, row in enumerate(table, start=2 if spec.header else 1):
        if column >= len(row) or not row[column].strip():
            raise SafemergeError(f"{path}, row {number}: the question is empty; fill or remove it.")
        yield (
            row[column].strip(),
            (row[category].strip() if category is not None else "") or (part.category or ""),
        )


def _read_csv(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.reader(file) if row]
    except UnicodeDecodeError as error:
        raise SafemergeError(
            f"{path} is not UTF-8 text (byte {error.start}); convert it."
        ) from error
    except csv.Error as error:
        raise SafemergeError(f"{path} is not a CSV file ({error}); replace it.") from error


def _without_header(
    spec: SuiteSpec, path: Path, table: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    header = table[0] if table else []
    if spec.columns is not None and tuple(header) != spec.columns:
        raise SafemergeError(
            f"{path} has the columns {_short(header)}, expected {', '.join(spec.columns)}; "
            f"replace it with the original file of {spec.suite}."
        )
    return header, table[1:]


def _position(header: list[str], column: str | int, path: Path) -> int:
    if isinstance(column, int):
        return column
    if column not in header:
        raise SafemergeError(f"{path} has no column {column!r}; its columns are {_short(header)}.")
    return header.index(column)


def _check_headerless(spec: SuiteSpec, path: Path, table: list[list[str]], column: int) -> None:
    """Refuse a header row and rows split at unquoted commas."""
    if table and table[0][column : column + 1] and _looks_like_header(table[0][column]):
        raise SafemergeError(
            f"{path} begins with a header row, but the files of {spec.suite} have none; "
            "remove its first line."
        )
    for number, row in enumerate(table, start=1):
        if len(row) != 1 + column:
            raise SafemergeError(
                f"{path}, row {number} has {len(row)} columns, expected {1 + column}; quote "
                "questions that contain commas."
            )


def _looks_like_header(cell: str) -> bool:
    names = {
        "question",
        "questions",
        "prompt",
        "prompts",
        "instruction",
        "text",
        "goal",
        "input",
        "0",
    }
    return cell.strip().casefold() in names


def _short(header: list[str]) -> str:
    """Name columns without printing a question that stands where the header should be."""
    return ", ".join(name if len(name) <= 30 else f"{name[:12]}..." for name in header) or "none"
