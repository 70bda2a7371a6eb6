"""lm-eval's runs on disk: `results_<date>.json` beside `samples_<task>_<date>.jsonl`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError, one_line
from safemerge_tasks.results.samples import Row, stream_rows, write_rows

SAVED_BEFORE_JUDGING = "responses_"
"""Begins the names of folders of responses that were saved before judging."""


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
        """Return the results file's content.

        Raises:
            SafemergeError: it is not a JSON object.
        """
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SafemergeError(f"{self.path} cannot be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:  # also what is not UTF-8
            raise SafemergeError(
                f"{self.path} is not JSON ({one_line(error, 100)}); run lm_eval again."
            ) from error
        if not isinstance(value, dict):
            raise SafemergeError(f"{self.path} is not a JSON object; run lm_eval again.")
        return value

    def rows(self, task: str) -> list[Row]:
        """Return a task's samples, in the file's order."""
        return list(stream_rows(self.samples[task]))

    def write_rows(self, task: str, rows: Iterable[Row]) -> None:
        """Replace a task's samples in one step."""
        write_rows(self.samples[task], rows)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the results in one step."""
        # Other tasks' configurations may hold Python functions, as lm-eval's own do before saving.
        text = json.dumps(summary, indent=2, ensure_ascii=False, default=str)
        replace_file(self.path, text)

    @property
    def only_saved(self) -> bool:
        """Whether these are responses that were saved before judging."""
        return self.path.parent.name.startswith(SAVED_BEFORE_JUDGING)


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


def read_runs(place: Path) -> Iterator[tuple[Run, dict[str, Any], list[str]]]:
    """Yield the runs below a folder, or that of one results file, oldest first.

    Responses that were saved before judging are left out where there is anything else.

    Yields:
        The run, its results file's content, and its tasks, without the groups.

    Raises:
        SafemergeError: there is none, or a file that holds no results.
    """
    if place.is_file() and place.name.startswith("results_"):
        found = [_run(place)]
    else:
        runs = find_runs(place)
        found = [run for run in runs if not run.only_saved] or runs
    for run in found:
        summary = run.summary()
        results, groups = summary.get("results"), summary.get("group_subtasks") or {}
        if not isinstance(results, dict) or not isinstance(groups, dict):
            raise SafemergeError(f"{run.path} has no results in it; run lm_eval again.")
        yield run, summary, [task for task in results if not groups.get(task)]


def latest_results(place: Path) -> dict[tuple[str, str], tuple[Run, dict[str, Any]]]:
    """Return (model, task) → its latest run with the results file's content; see `read_runs`."""
    return {
        (model_name(summary, run), task): (run, summary)
        for run, summary, tasks in read_runs(place)
        for task in tasks
    }


def model_name(summary: Mapping[str, Any], run: Run) -> str:
    """Return the model as lm-eval names it."""
    return str(summary.get("model_name") or run.path.parent.name)


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


def _run(path: Path) -> Run:
    date = path.stem.removeprefix("results_")
    samples = {
        found.name.removeprefix("samples_").removesuffix(f"_{date}.jsonl"): found
        for found in sorted(path.parent.glob(f"samples_*_{date}.jsonl"))
    }
    return Run(path, samples)
