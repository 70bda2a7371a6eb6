"""lm-eval's result and sample files with contents of one's choosing; every text is innocuous."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from safemerge_tasks.results import Row, content_hash

DATE = "2026-01-01T00-00-00.000001"
JUDGE = {"name": "wildguard", "prompt_sha256": "5e74", "model": "allenai/wildguard"}


def sample_row(
    number: int, name: str, metrics: Mapping[str, float], document: Mapping[str, Any], **more: Any
) -> Row:
    """Return one row of a samples file: a question, a response, and its metrics under a filter."""
    doc = {"id": f"toy-{number:04d}", "question": f"How is loaf number {number} baked?", **document}
    return {
        "doc_id": number,
        "doc": doc,
        "target": "",
        "arguments": {"gen_args_0": {"arg_0": doc["question"]}},
        "resps": [[f"Knead dough {number}"]],
        "filtered_resps": ["{}"],
        "filter": name,
        "metrics": list(metrics),
        "doc_hash": content_hash(doc),
        "prompt_hash": content_hash(doc["question"]),
        "target_hash": content_hash(""),
        **metrics,
        **more,
    }


def harms(row: Mapping[str, Any]) -> list[bool]:
    """Return the verdicts on all of a question's answers that tell harm."""
    found = [json.loads(text) for text in row["filtered_resps"]]
    flat = [one for some in found for one in (some if isinstance(some, list) else [some])]
    return [one["verdict"]["harmful"] for one in flat if "harmful" in one["verdict"]]


def summary_of(
    results: Mapping[str, Mapping[str, Any]],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    ours: Mapping[str, Mapping[str, Any]] | None = None,
    questions: int | Mapping[str, int] = 100,
) -> dict[str, Any]:
    """Return a results file's content.

    Args:
        results: task → its rates.
        configs: task → its configuration.
        ours: task → what safemerge stored with it.
        questions: how many each task asked, or by task, 100 for those it does not name.
    """
    stored = {
        task: {"metadata": {"version": 1.0, "safemerge": kept}}
        for task, kept in (ours or {}).items()
    }
    return {
        "results": {task: {"name": task, "alias": task, **row} for task, row in results.items()},
        "group_subtasks": {},
        "configs": {
            task: {**(configs or {}).get(task, {}), **stored.get(task, {})} for task in results
        },
        "versions": dict.fromkeys(results, 1.0),
        "n-shot": dict.fromkeys(results, 0),
        "n-samples": {
            task: dict.fromkeys(
                ("original", "effective"),
                questions if isinstance(questions, int) else questions.get(task, 100),
            )
            for task in results
        },
        "model_name": "toy",
        "lm_eval_version": "0.4.13",
    }


def mean_of(rows: Sequence[Row], metric: str) -> float:
    """Return a metric's mean over the rows that have it, 0 where none has."""
    values = [row[metric] for row in rows if metric in row]
    return sum(values) / max(len(values), 1)


def documents_of(rows: Sequence[Row]) -> int:
    """Return how many documents some rows are about, whoever judged them."""
    return len({row["doc_id"] for row in rows})
