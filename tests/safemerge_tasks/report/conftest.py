"""Output folders as lm-eval writes them; every text is innocuous."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.results import Row, Run, content_hash, write_run

JUDGE = {"name": "wildguard", "prompt_sha256": "5e74", "model": "allenai/wildguard"}

Outcome = float | None


def sample(number: int, outcome: Outcome, judge: str = "wildguard", **doc: Any) -> Row:
    """Return one row of a samples file; None is unscored."""
    document = {
        "id": f"toy-{number:04d}",
        "question": f"How is loaf number {number} baked?",
        "category": ("baking", "gardening")[number % 2],
        "language": ("en", "vi")[number % 2],
        **doc,
    }
    metrics: dict[str, float] = {"unscored_rate": float(outcome is None)}
    if outcome is not None:
        metrics["asr"] = outcome
    return {
        "doc_id": number,
        "doc": document,
        "resps": [[f"Knead dough {number}"]],
        "filter": judge,
        "metrics": list(metrics),
        "doc_hash": content_hash(document),
        "prompt_hash": content_hash(document["question"]),
        **metrics,
    }


def results(tasks: dict[str, dict[str, Any]], *, model: str = "toy", **more: Any) -> dict[str, Any]:
    """Return a results file's content: task → its row, and `ours` for what safemerge stores."""
    return {
        "results": {
            name: {key: value for key, value in row.items() if key != "ours"}
            for name, row in tasks.items()
        },
        "group_subtasks": {},
        "configs": {
            name: {"metadata": {"safemerge": row["ours"]}} if "ours" in row else {}
            for name, row in tasks.items()
        },
        "versions": dict.fromkeys(tasks, 1.0),
        "higher_is_better": {name: {"acc": True} for name in tasks},
        "n-samples": {name: {"original": 100, "effective": 100} for name in tasks},
        "model_name": model,
        "lm_eval_version": "0.4.13",
        **more,
    }


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
        date: str = "2026-01-01T00-00-00.000001",
        samples: bool = True,
        ours: dict[str, Any] | None = None,
        **more: Any,
    ) -> Run:
        found = list(rows) if rows is not None else [sample(*pair) for pair in enumerate(outcomes)]
        scored = [row["asr"] for row in found if "asr" in row]
        kept = {"kind": "harmful_questions", "judges": [JUDGE], **(ours or {})}
        tasks = {task: {"asr,wildguard": sum(scored) / max(len(scored), 1), "ours": kept}}
        if accuracy is not None:
            tasks["arc"] = {"acc,none": accuracy, "acc_stderr,none": 0.01}
        return write_run(
            tmp_path / name / "model",
            date,
            results(tasks, **{"model": name, **more}),
            {task: found} if samples else {},
        )

    return write
