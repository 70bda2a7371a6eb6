"""Whether a samples file holds as many rows as its results file says."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.results.runs import SAVED_BEFORE_JUDGING, Run
from safemerge_tasks.results.samples import Row


def complete_rows(run: Run, summary: Mapping[str, Any], task: str) -> list[Row]:
    """Return all rows of a task's samples.

    Raises:
        SafemergeError: some are missing, or there are too many.
    """
    rows = run.rows(task)
    refuse_incomplete(
        run.samples[task], summary, task, Counter(row.get("filter") or "none" for row in rows)
    )
    return rows


def refuse_incomplete(
    path: Path, summary: Mapping[str, Any], task: str, rows: Mapping[str, int]
) -> None:
    """Refuse a samples file that lost lines, which a rate over the rest would hide.

    Args:
        path: the samples file.
        summary: the results file's content. Of its `n-samples`, `effective` counts the documents
            that some metric is about, and `original` all there are; old lm-eval has neither.
        task: the task's name.
        rows: filter → how many rows it has.

    Raises:
        SafemergeError: a filter has fewer or more rows, or there are none at all.
    """
    try:
        found = (summary.get("n-samples") or {}).get(task) or {}
        least, most = (int(found.get(key) or 0) for key in ("effective", "original"))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise SafemergeError(
            f"{path}: its results file does not say how many samples there are ({brief(error)}); "
            "run lm_eval again."
        ) from error
    if not rows:
        raise SafemergeError(f"{path} is empty; {_way_out(path)}.")
    for name, count in rows.items():
        for said, wrong in ((least, count < least), (most, count > (most or count))):
            if wrong:
                raise SafemergeError(
                    f"{path} has {count:,} rows by {name}, and its results file says {said:,}; "
                    f"{_way_out(path)}."
                )


def _way_out(path: Path) -> str:
    saved = sorted(path.parent.glob(f"{SAVED_BEFORE_JUDGING}*/"))
    copy = f", or judge the responses that were saved in {saved[-1]}" if saved else ""
    return f"copy it again, or run lm_eval again{copy}"
