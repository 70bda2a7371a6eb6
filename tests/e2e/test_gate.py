"""The gate on what lm_eval itself writes, for a task that is not safemerge's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TASK = """
task: plain_words
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_text: "{{word}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
generation_kwargs: {until: ["\\n"]}
metadata: {version: 1.0}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., Any]) -> Path:
    """Return a folder with two runs of lm_eval's stand-in model, the second of 20 questions."""
    folder = tmp_path_factory.mktemp("gate")
    rows = [{"word": f"word {number}", "answer": "lol"} for number in range(80)]
    (folder / "words.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "plain_words.yaml").write_text(TASK.replace("FILE", str(folder / "words.jsonl")))
    for name, limit in (("all", []), ("some", ["--limit", "20"])):
        ran = command(
            *("--model", "dummy", "--tasks", "plain_words", "--include_path", folder),
            *("--log_samples", "--output_path", folder / name, *limit),
        )
        assert ran.status == 0, ran.err
    return folder


def test_equal_runs_pass(results: Path, command: Callable[..., Any]) -> None:
    words = ("check", "--baseline", results / "all", "--candidate", results / "all")
    ran = command(*words, module="safemerge_tasks")
    assert ran.status == 0, ran.err
    assert "plain_words, exact_match: passed" in ran.out


def test_a_part_of_the_questions_is_named_and_then_undecided(
    results: Path, command: Callable[..., Any]
) -> None:
    words = ("check", "--baseline", results / "all", "--candidate", results / "some")
    refused = command(*words, module="safemerge_tasks")
    assert refused.status == 2
    assert "question set (20 in common, 60 only in the baseline" in refused.err
    accepted = command(*words, "--accept", "questions", module="safemerge_tasks")
    assert accepted.status == 2
    assert "questions would decide" in accepted.out
