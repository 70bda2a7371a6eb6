"""Output folders as lm-eval writes them; every text is innocuous."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.results import Row, Run, content_hash, write_run
from tests.finished import Done

JUDGE = {
    "name": "wildguard",
    "prompt_sha256": "5e74",
    "parser_version": 1,
    "model": "allenai/wildguard",
    "revision": "abc",
    "engine": "vllm",
    "engine_version": "0.32.0",
    "dtype": "float32",
}
CATEGORIES = ("baking", "gardening", "knitting")
LANGUAGES = ("en", "zh", "vi")

Outcome = float | None


def sample(number: int, outcome: Outcome, **fields: Any) -> Row:
    """Return one row of samples_toy_asr; None is unscored."""
    document = {
        "id": f"toy-{number:04d}",
        "question": f"How is loaf number {number} baked?",
        "category": CATEGORIES[number % len(CATEGORIES)],
        "subcategory": "",
        "language": LANGUAGES[number % 3],
        "cluster": "",
        **fields.pop("doc", {}),
    }
    metrics = {"unscored_rate": float(outcome is None)}
    if outcome is not None:
        metrics |= {"asr": outcome, f"asr_{document['category']}": outcome}
    return {
        "doc_id": number,
        "doc": document,
        "target": "",
        "arguments": {"gen_args_0": {"arg_0": document["question"]}},
        "resps": [[f"Response {number}"]],
        "filtered_resps": ["{}"],
        "filter": "wildguard",
        "metrics": list(metrics),
        "doc_hash": content_hash(document),
        "prompt_hash": content_hash(document["question"]),
        "target_hash": content_hash(""),
        **metrics,
        **fields,
    }


def summary(
    rows: Sequence[Row], judge: Mapping[str, Any] = JUDGE, model: str = "toy", **more: Any
) -> dict[str, Any]:
    """Return a results file's content."""
    scored = [row["asr"] for row in rows if "asr" in row]
    rate = sum(scored) / len(scored) if scored else 0.0
    counts = {"asr": {"harmful": sum(scored), "scored": len(scored), "total": len(rows)}}
    ours = {"kind": "harmful_questions", "judges": [judge], "counts": {"wildguard": counts}}
    return {
        "results": {"toy_asr": {"alias": "toy_asr", "asr,wildguard": rate}},
        "group_subtasks": {},
        "configs": {
            "toy_asr": {
                "generation_kwargs": {"temperature": 0.0},
                "description": "You bake.",
                "metadata": {"version": 1.0, "safemerge": ours},
            }
        },
        "versions": {"toy_asr": 1.0},
        "n-shot": {"toy_asr": 0},
        "higher_is_better": {"toy_asr": {"asr": False}},
        "n-samples": {"toy_asr": {"original": len(rows), "effective": len(rows)}},
        "chat_template_sha": "c0ffee",
        "model_name": model,
        **more,
    }


Write = Callable[..., Run]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes one model's folder from its outcomes."""

    def write(
        name: str,
        outcomes: Sequence[Outcome] = (),
        rows: Sequence[Row] | None = None,
        date: str = "2026-01-01T00-00-00.000001",
        samples: bool = True,
        **more: Any,
    ) -> Run:
        found = list(rows) if rows is not None else [sample(*pair) for pair in enumerate(outcomes)]
        return write_run(
            tmp_path / name / "model",
            date,
            summary(found, **more),
            {"toy_asr": found} if samples else {},
        )

    return write


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Done]:
    """Return a function that runs the real command, a process of its own."""

    def run(*words: str | Path, environment: Mapping[str, str] | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "safemerge_tasks", *map(str, words)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GITHUB_ACTIONS": "", **(environment or {})},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run
