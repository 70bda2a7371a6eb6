"""A model card's own parts of ours: `model-index` metadata and a block of text, kept up to date.

Everything else in the file stays as it is, comments in its metadata too.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError, one_line
from safemerge_tasks.common.utf8_file import read_utf8
from safemerge_tasks.report.measured import Measured
from safemerge_tasks.report.printable import printable

CARD = "README.md"
INDEX = "model-index"
TOOL = "safemerge"

BEGIN, END = "<!-- safemerge: begin -->", "<!-- safemerge: end -->"

_FRONT = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KEY = re.compile(rf"^[\"']?{INDEX}[\"']?[ \t]*:.*(?:\n(?:[ \t\r]*\n)*[ \t-].*)*\n?", re.MULTILINE)
"""The key at the start of a line, and what belongs to it: all that is indented or a list's."""


def write_card(folder: Path, figures: Sequence[Measured], block: str) -> Path:
    """Put figures into a model's card; once more with the same ones changes nothing.

    Args:
        folder: the model's.
        figures: for the metadata, those with a value.
        block: Markdown, without our marks.

    Returns:
        The card.

    Raises:
        SafemergeError: there is no such folder, or the card has metadata or marks that are broken.
    """
    if not folder.is_dir():
        raise SafemergeError(f"{folder} is no folder; give a model's, which holds {CARD}.")
    path = folder / CARD
    text = _read(path) if path.exists() else ""
    # Of a card with both, its other lines keep theirs.
    line_end = "\r\n" if "\r\n" in text else "\n"
    front = _FRONT.match(text)
    begin, end = (front.start(1), front.end(1)) if front else (0, 0)
    metadata = _with_metadata(text[begin:end], figures, folder, path, line_end)
    if metadata and not front:
        metadata = f"---{line_end}{metadata}---{line_end}"
    body = _with_block(text[end:], block.strip().replace("\n", line_end), path, line_end)
    write_file(path, text[:begin] + metadata + body)
    return path


def _read(path: Path) -> str:
    try:
        return read_utf8(path, newline="")
    except OSError as error:
        raise SafemergeError(f"{path} cannot be read ({error.strerror}).") from error


def _with_metadata(
    old: str, figures: Sequence[Measured], folder: Path, path: Path, line_end: str
) -> str:
    """Return the metadata without the lines around it; nothing for none."""
    index = _index(old, path)
    if not index:
        index = [{"name": folder.resolve().name, "results": []}]
    for one in index:
        one["results"] = [result for result in one["results"] if not _is_ours(result)]
    index[0]["results"] += _results(figures)
    index = [one for one in index if one["results"]]
    dumped = (
        yaml.safe_dump({INDEX: index}, sort_keys=False, allow_unicode=True, width=10_000)
        if index
        else ""
    )
    dumped = dumped.replace("\n", line_end)
    place = _KEY.search(old)
    new = old[: place.start()] + dumped + old[place.end() :] if place else old + dumped
    if not _says(new, _expected(old, index)):
        raise SafemergeError(
            f"{path} has metadata in which {INDEX} cannot be replaced; write it at the start of a "
            "line, with nothing else in its lines."
        )
    return new


def _says(text: str, expected: object) -> bool:
    try:
        return bool((yaml.safe_load(text) or {}) == expected)
    except yaml.YAMLError:
        return False


def _expected(old: str, index: list[Any]) -> dict[str, Any]:
    kept = {
        key: value for key, value in (yaml.safe_load(old or "{}") or {}).items() if key != INDEX
    }
    return {**kept, INDEX: index} if index else kept


def _index(front: str, path: Path) -> list[dict[str, Any]]:
    try:
        metadata = yaml.safe_load(front) if front else {}
    except yaml.YAMLError as error:
        raise SafemergeError(
            f"{path} has metadata that is no YAML ({one_line(error, 100)}); correct it."
        ) from error
    found = (metadata or {}).get(INDEX) if isinstance(metadata, dict | None) else metadata
    if found is None:
        return []
    if not _is_index(found):
        raise SafemergeError(
            f"{path} has a {INDEX} of another form than the Hub's (a list of name and results); "
            "correct or remove it."
        )
    return list(found)


def _is_index(found: object) -> bool:
    return isinstance(found, list) and all(
        isinstance(one, dict) and one.get("name") and isinstance(one.get("results"), list)
        for one in found
    )


def _is_ours(result: Any) -> bool:
    metrics = result.get("metrics") if isinstance(result, dict) else None
    if not isinstance(metrics, list) or not metrics:
        return False
    return all(
        isinstance(one, dict)
        and isinstance(one.get("args"), dict)
        and one["args"].get("tool") == TOOL
        for one in metrics
    )


def _results(figures: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return the figures as the Hub's own library writes them."""
    from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

    found = [
        EvalResult(
            task_type="text-generation",
            task_name=one.kind,
            dataset_type=printable(one.task.name),
            dataset_name=printable(one.task.name),
            metric_type=printable(one.metric),
            metric_name=printable(f"{one.called}, by {one.judge}"),
            metric_value=one.measure.value,
            metric_args=_arguments(one),
        )
        for one in figures
        if one.measure.value is not None and math.isfinite(one.measure.value)
    ]
    return eval_results_to_model_index(TOOL, found)[0]["results"] if found else []


def _arguments(one: Measured) -> dict[str, Any]:
    measure, version = one.measure, one.task.result.settings.get("version")
    found = {
        "tool": TOOL,
        "judge": printable(one.judge),
        "judge_model": printable(str(one.identity.get("model") or "")),
        "version": version if isinstance(version, int | float) else printable(str(version or "")),
        "low": measure.low,
        "high": measure.high,
        "hits": measure.hits,
        "scored": measure.scored,
        "total": measure.total,
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def _with_block(text: str, block: str, path: Path, line_end: str) -> str:
    marked = f"{BEGIN}{line_end}{block}{line_end}{END}"
    begins, ends = text.count(BEGIN), text.count(END)
    if not begins and not ends:
        gap = line_end * (0 if not text else 1 if text.endswith("\n") else 2)
        return f"{text}{gap}{marked}{line_end}"
    start, end = text.find(BEGIN), text.find(END)
    if (begins, ends) != (1, 1) or end < start:
        raise SafemergeError(
            f"{path} has {begins} marks {BEGIN} and {ends} marks {END}; leave one of each, in that "
            "order, or none."
        )
    return text[:start] + marked + text[end + len(END) :]
