"""Output folders as lm-eval writes them; every text is innocuous."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.results import Row, Run, write_run
from tests.lm_eval_files import DATE, JUDGE, documents_of, mean_of, sample_row, summary_of

Outcome = float | None


def sample(number: int, outcome: Outcome, judge: str = "wildguard", **doc: Any) -> Row:
    """Return one row of a samples file; None is unscored."""
    document = {
        "category": ("baking", "gardening")[number % 2],
        "language": ("en", "vi")[number % 2],
        **doc,
    }
    metrics: dict[str, float] = {"unscored_rate": float(outcome is None)}
    if outcome is not None:
        metrics["asr"] = outcome
    return sample_row(number, judge, metrics, document)


Write = Callable[..., Run]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes one model's folder: outcomes of toy_asr, accuracy of arc."""

    def write(
        name: str,
        outcomes: Sequence[Outcome] = (),
        *,
        rows: Sequence[Row] | None = None,
        task: str = "toy_asr",
        accuracy: float | None = None,
        date: str = DATE,
        samples: bool = True,
        ours: dict[str, Any] | None = None,
        model: str | None = None,
        **more: Any,
    ) -> Run:
        found = list(rows) if rows is not None else [sample(*pair) for pair in enumerate(outcomes)]
        kept = {"kind": "harmful_questions", "judges": [JUDGE], **(ours or {})}
        tasks = {task: {"asr,wildguard": mean_of(found, "asr")}}
        if accuracy is not None:
            tasks["arc"] = {"acc,none": accuracy, "acc_stderr,none": 0.01}
        content = summary_of(tasks, ours={task: kept}, questions={task: documents_of(found)}) | {
            "model_name": model or name,
            "higher_is_better": {name: {"acc": True} for name in tasks},
            **more,
        }
        return write_run(tmp_path / name / "model", date, content, {task: found} if samples else {})

    return write
