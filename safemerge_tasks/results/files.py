"""lm-eval's result and sample files, read and rewritten.

`results_<date>.json` beside `samples_<task>_<date>.jsonl`: the only interchange between an
evaluation and everything after it.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError

Row = dict[str, Any]
"""One line of a samples file: one document under one filter."""


@dataclass(frozen=True)
class Run:
    """One evaluation on disk: a results file and the samples files of the same date.

    Attributes:
        path: the results file.
        samples: task → samples file; tasks evaluated without --log_samples are missing.
    """

    path: Path
    samples: dict[str, Path]

    def summary(self) -> dict[str, Any]:
        """Return the results file's content."""
        return _load(self.path, self.path.read_text(encoding="utf-8"))

    def rows(self, task: str) -> list[Row]:
        """Return a task's samples, in the file's order."""
        path = self.samples[task]
        with path.open(encoding="utf-8") as file:
            return [
                _load(path, line, number) for number, line in enumerate(file, 1) if line.strip()
            ]

    def write_rows(self, task: str, rows: Iterable[Row]) -> None:
        """Replace a task's samples in one step."""
        replace_file(self.samples[task], "".join(_line(row) for row in rows))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the results in one step."""
        # Other tasks' configurations may hold Python functions, as lm-eval's own do before saving.
        text = json.dumps(summary, indent=2, ensure_ascii=False, default=str)
        replace_file(self.path, text)


def find_runs(folder: Path) -> list[Run]:
    """Return every run below a folder, oldest first.

    Raises:
        SafemergeError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise SafemergeError(f"{folder} is not a folder; give lm_eval's --output_path.")
    runs = [_run(path) for path in sorted(folder.rglob("results_*.json"), key=lambda p: p.name)]
    if not runs:
        raise SafemergeError(
            f"{folder} holds no results_*.json; give a folder that lm_eval wrote with "
            "--output_path and --log_samples."
        )
    return runs


def write_run(
    folder: Path, date: str, summary: Mapping[str, Any], samples: Mapping[str, Iterable[Row]]
) -> Run:
    """Write a run in lm-eval's two formats; the results file comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(
        folder / f"results_{date}.json",
        {task: folder / f"samples_{task}_{date}.jsonl" for task in samples},
    )
    for task, rows in samples.items():
        run.write_rows(task, rows)
    run.write_summary(summary)
    return run


def back_up(path: Path, suffix: str) -> None:
    """Keep the first state of a file for good: what replaces it later can be made again."""
    backup = path.with_name(path.name + suffix)
    if not backup.exists():
        shutil.copy2(path, backup)


def content_hash(value: Any) -> str:
    """Return lm-eval's hash of a document or a prompt."""
    if isinstance(value, dict):
        value = json.dumps(value, indent=2, default=str, ensure_ascii=False)
    return hashlib.sha256(str(value).encode("utf-8", "backslashreplace")).hexdigest()


def _run(path: Path) -> Run:
    date = path.stem.removeprefix("results_")
    samples = {
        found.name.removeprefix("samples_").removesuffix(f"_{date}.jsonl"): found
        for found in sorted(path.parent.glob(f"samples_*_{date}.jsonl"))
    }
    return Run(path, samples)


def _load(path: Path, text: str, line: int | None = None) -> dict[str, Any]:
    where = str(path) if line is None else f"{path}, line {line}"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise SafemergeError(f"{where} is not JSON ({error.msg}); run lm_eval again.") from error
    if not isinstance(value, dict):
        raise SafemergeError(f"{where} is not a JSON object; run lm_eval again.")
    return value


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"
