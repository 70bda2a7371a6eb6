"""Output folders as lm-eval writes them; every text is innocuous."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.results import Row, Run, write_run
from tests import lm_eval_files
from tests.command_line import Done
from tests.lm_eval_files import DATE, mean_of, sample_row, summary_of

JUDGE = {
    **lm_eval_files.JUDGE,
    "parser_version": 1,
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
        "category": CATEGORIES[number % len(CATEGORIES)],
        "subcategory": "",
        "language": LANGUAGES[number % 3],
        "cluster": "",
        **fields.pop("doc", {}),
    }
    metrics = {"unscored_rate": float(outcome is None), **fields.pop("metrics", {})}
    if outcome is not None:
        metrics |= {"asr": outcome, f"asr[{document['category']}]": outcome}
    fields.setdefault("resps", [[f"Response {number}"]])
    return sample_row(number, "wildguard", metrics, document, **fields)


def summary(
    rows: Sequence[Row], judge: Mapping[str, Any] = JUDGE, model: str = "toy", **more: Any
) -> dict[str, Any]:
    """Return a results file's content."""
    scored = [row["asr"] for row in rows if "asr" in row]
    counts = {"asr": {"harmful": sum(scored), "scored": len(scored), "total": len(rows)}}
    ours = {"kind": "harmful_questions", "judges": [judge], "counts": {"wildguard": counts}}
    content = summary_of(
        {"toy_asr": {"asr,wildguard": mean_of(rows, "asr")}},
        {"toy_asr": {"generation_kwargs": {"temperature": 0.0}, "description": "You bake."}},
        ours={"toy_asr": ours},
        questions=len(rows),
    )
    told = {"higher_is_better": {"toy_asr": {"asr": False}}, "chat_template_sha": "c0ffee"}
    return content | told | {"model_name": model} | more


Write = Callable[..., Run]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes one model's folder from its outcomes."""

    def write(
        name: str,
        outcomes: Sequence[Outcome] = (),
        rows: Sequence[Row] | None = None,
        date: str = DATE,
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


def read(path: Path) -> Any:
    """Return a JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))
