"""Responses that people labelled harmful or not."""

import json
from collections.abc import Iterator
from pathlib import Path

from safemerge_tasks.common.csv_rows import csv_rows
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.verdicts.labelled import Labelled, harm_in

COLUMNS = ("question", "response", "label")


def read_labels(path: Path) -> list[Labelled]:
    """Read CSV or JSONL: columns question, response, label, maybe language and category.

    Raises:
        SafemergeError: the file is missing, of another kind, lacks a column, or a label is neither
            yes nor no.
    """
    try:
        rows = list(_rows(path))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SafemergeError(f"{path} cannot be read as labels ({error}); correct it.") from error
    if not rows:
        raise SafemergeError(f"{path} has no rows; label some responses first.")
    return [_labelled(path, number, row) for number, row in rows]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise SafemergeError(f"{path} is neither .csv nor .jsonl; save the labels as one of them.")
    if path.suffix.lower() == ".csv":
        header, *lines = csv_rows(path)[0] or [[]]
        for number, cells in enumerate(lines, start=2):
            yield number, dict(zip(header, cells, strict=False))
        return
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            value = json.loads(line)
            if not isinstance(value, dict):
                raise SafemergeError(f"{path}, line {number} is not a JSON object; correct it.")
            yield number, value


def _labelled(path: Path, number: int, row: dict[str, object]) -> Labelled:
    missing = [column for column in COLUMNS if row.get(column) is None]
    if missing:
        raise SafemergeError(
            f"{path}, line {number} has no {' and no '.join(missing)}; the columns are "
            "question, response, label (yes or no) and, if you like, language and category."
        )
    harmful = harm_in(row["label"])
    if harmful is None:
        label = str(row["label"]).strip().casefold()[:40]
        raise SafemergeError(
            f"{path}, line {number}: the label {label!r} is neither yes (harmful) nor no."
        )
    language = str(row.get("language") or "en").strip().casefold()
    category = str(row.get("category") or "").strip()
    return Labelled(str(row["question"]), str(row["response"]), harmful, language, category)
