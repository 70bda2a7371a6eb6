"""lm-eval's runs on disk: a results file beside `samples_<task>_<date>.jsonl`.

The results are `results_<date>.json`, or `<name>_<date>.json` for `--output_path <name>.json`, or
whatever somebody has renamed them to: they are known by what is in them.
"""

import glob
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.common.atomic_write import replace_file
from safemerge_tasks.common.errors import SafemergeError, one_line
from safemerge_tasks.results.samples import Row, stream_rows, write_rows

SAVED_BEFORE_JUDGING = "responses_"
"""Begins the names of folders of responses that were saved before judging."""

_NAME = "results_"
_DATE = re.compile(r"(?:^results|.)_(\d{4}-\d\d-\d\dT[\d.-]+)$")
_BEGIN = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"results"\s*:\s*\{')
_PACKED = {".gz", ".bz2", ".xz", ".zst", ".zip"}
_PARTS = ("configs", "versions", "n-shot", "config")
"""Beside `results`, lm-eval has at least one of these at the top."""


@dataclass(frozen=True)
class Run:
    """One evaluation on disk: a results file and the samples files of the same date.

    Attributes:
        path: the results file.
        samples: task → samples file; tasks evaluated without --log_samples are missing.
    """

    path: Path
    samples: dict[str, Path]

    @property
    def date(self) -> str:
        """When it was saved, as in the file's name; empty for a name of somebody's own."""
        # What a file was renamed to, such as `results_old.json`, comes before or after no date.
        return found if (found := _date(self.path))[:4].isdecimal() else ""

    def summary(self) -> dict[str, Any]:
        """Return the results file's content.

        Raises:
            SafemergeError: it is not a JSON object.
        """
        try:
            value = json.loads(self.path.read_bytes())
        except OSError as error:
            raise SafemergeError(f"{self.path} cannot be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:  # also what is not UTF-8
            raise SafemergeError(
                f"{self.path} is not JSON ({one_line(error, 100)}); run lm_eval again."
            ) from error
        if not isinstance(value, dict):
            raise SafemergeError(f"{self.path} is not a JSON object; run lm_eval again.")
        return value

    def refuse_packed(self, task: str) -> None:
        """Refuse samples that are there and cannot be read.

        Raises:
            SafemergeError: names the file.
        """
        name = glob.escape(f"samples_{task}_{_date(self.path)}.jsonl")
        for path in self.path.parent.glob(f"{name}.*"):
            if path.suffix in _PACKED:
                raise SafemergeError(f"{path} is packed; unpack it beside {self.path.name}.")

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


def is_results_file(path: Path) -> bool:
    """Return whether a file is one of lm-eval's results, by its name or by what is in it."""
    if path.name.startswith(_NAME) and path.suffix == ".json":
        return not path.is_dir()
    try:
        with path.open("rb") as file:
            if not _BEGIN.match(file.read(4096)):
                return False
        value = Run(path, {}).summary()
    except OSError:
        return False
    except SafemergeError:
        # Cut off: whoever reads it says so.
        return bool(_date(path))
    return any(part in value for part in _PARTS)


def find_runs(place: Path) -> list[Run]:
    """Return every run at a place, oldest first.

    Args:
        place: a folder, with all below it; a results file; or the `x.json` that lm-eval was given
            as --output_path, from which it makes `x_<date>.json`.

    Raises:
        SafemergeError: there is no such place, or no run in it.
    """
    if place.is_file():
        found = [place] if is_results_file(place) else []
    elif place.is_dir():
        found = [path for path in place.rglob("*.json") if is_results_file(path)]
    elif place.suffix == ".json":
        found = [
            path
            for path in place.parent.glob("*.json")
            if path.stem.removesuffix(f"_{_date(path)}") == place.stem and is_results_file(path)
        ]
    else:
        found = []
    if not found and not place.exists():
        raise SafemergeError(
            f"{place} does not exist; give a folder that lm_eval wrote, or a results file in it."
        )
    if not found:
        raise SafemergeError(
            f"{place} holds no results of lm_eval; give what lm_eval wrote with --output_path and "
            "--log_samples."
        )
    runs = map(_run, found)
    return sorted(runs, key=lambda run: (run.date, run.path.name, str(run.path)))


def read_runs(place: Path) -> Iterator[tuple[Run, dict[str, Any], list[str]]]:
    """Yield the runs at a place (see `find_runs`), oldest first.

    Responses that were saved before judging are left out where there is anything else.

    Yields:
        The run, its results file's content, and its tasks, without the groups.

    Raises:
        SafemergeError: there is none, or a file that holds no results.
    """
    runs = find_runs(place)
    for run in [run for run in runs if not run.only_saved] or runs:
        summary = run.summary()
        results, groups = summary.get("results"), summary.get("group_subtasks") or {}
        if not isinstance(results, dict) or not isinstance(groups, dict):
            raise SafemergeError(f"{run.path} has no results in it; run lm_eval again.")
        yield run, summary, [task for task in results if not groups.get(task)]


def latest_results(place: Path) -> dict[tuple[str, str], tuple[Run, dict[str, Any]]]:
    """Return (model, task) → its latest run with the results file's content; see `read_runs`.

    Raises:
        SafemergeError: see `is_copy`.
    """
    found: dict[tuple[str, str], tuple[Run, dict[str, Any]]] = {}
    for run, summary, tasks in read_runs(place):
        for task in tasks:
            key = model_name(summary, run), task
            if key in found:
                is_copy((run, summary), found[key], task)
            found[key] = run, summary
    return found


def is_copy(
    found: tuple[Run, Mapping[str, Any]], before: tuple[Run, Mapping[str, Any]], task: str
) -> bool:
    """Return whether a run of a task is the one before it once more.

    Raises:
        SafemergeError: it is another, and their names do not tell which is later.
    """
    (run, summary), (other, content) = found, before
    unordered = other.date in ("", run.date)
    if unordered and summary != content:
        raise SafemergeError(
            f"{other.path} and {run.path} both have {task} of {model_name(summary, run)}, and "
            "their names do not say which is later; give one of them, or move one away."
        )
    return unordered


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


def _date(path: Path) -> str:
    found = _DATE.search(path.stem)
    if found:
        return found[1]
    return path.stem.removeprefix(_NAME) if path.stem.startswith(_NAME) else ""


def _run(path: Path) -> Run:
    end = f"_{_date(path)}.jsonl"
    # A name of somebody's own does not say which samples are its own.
    beside = sorted(path.parent.glob(f"samples_*{glob.escape(end)}")) if _date(path) else []
    return Run(
        path, {file.name.removeprefix("samples_").removesuffix(end): file for file in beside}
    )
