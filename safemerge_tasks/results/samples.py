"""lm-eval's samples files, one line at a time."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError

Row = dict[str, Any]
"""One line of a samples file: one document under one filter."""


def stream_rows(path: Path) -> Iterator[Row]:
    """Yield a samples file's rows; empty lines are left out.

    Raises:
        SafemergeError: it cannot be read, or a line is not a JSON object.
    """
    # Not stricter: lm-eval writes NaN, which JSON itself does not have.
    decode = json.JSONDecoder().decode
    try:
        opened = path.open("rb")
    except OSError as error:
        raise SafemergeError(f"{path} cannot be read ({error.strerror}).") from error
    with opened as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                row = decode(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                if not isinstance(row, dict):
                    raise ValueError("not an object")
            except (ValueError, RecursionError) as error:
                whole = "" if line.endswith(b"\n") else ", cut off at the end of the file"
                raise SafemergeError(
                    f"{path}, line {number} is not a JSON object{whole} ({error}); run lm_eval "
                    "again."
                ) from error
            yield row


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace a samples file in one step."""
    replace_file(path, (json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows))


def scored_row(
    row: Row, name: str, filtered: list[str], metrics: Mapping[str, float], **changed: Any
) -> Row:
    """Return a document's row under the filter that has scored it, for its row before.

    Args:
        row: as the model under test left it, or as another filter scored it.
        name: the filter's name.
        filtered: the filtered responses.
        metrics: the document's.
        changed: other keys.
    """
    shared = {key: value for key, value in row.items() if key not in row.get("metrics", ())}
    own = {"filtered_resps": filtered, "filter": name, "metrics": list(metrics)}
    return {**shared, **changed, **own, **metrics}


def content_hash(value: Any) -> str:
    """Return lm-eval's hash of a document or a prompt."""
    if isinstance(value, dict):
        value = json.dumps(value, indent=2, default=str, ensure_ascii=False)
    return hashlib.sha256(str(value).encode("utf-8", "backslashreplace")).hexdigest()
