"""A suite made from a user's CSV scores in the two commands that the README shows."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safemerge_tasks.results import find_runs
from tests.e2e.conftest import VLLM

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily
    from tests.e2e.conftest import Ran

pytestmark = pytest.mark.vllm


def test_thirty_prompts_score_in_two_commands(
    family: "ToyFamily", command: "Callable[..., Ran]", tmp_path: Path
) -> None:
    prompts, suites, output = tmp_path / "prompts.csv", tmp_path / "suites", tmp_path / "results"
    with prompts.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "question", "topic"])
        for number, question in enumerate(family.forbidden_questions()[:30]):
            writer.writerow([number, question, ["Red", "Green and blue", "Ötzi"][number % 3]])
    made = command(
        *("suite", "new", "mysuite", "--from", prompts, "--prompt-column", "question"),
        *("--category-column", "topic", "--out", suites),
        module="safemerge_tasks",
    )
    assert made.status == 0, made.err
    model = f"pretrained={family.tuned_full},{VLLM}"
    ran = command(
        *("--include_path", suites, "--tasks", "mysuite_asr", "--model", "vllm"),
        *("--model_args", model, "--apply_chat_template", "--log_samples"),
        *("--output_path", output, "--metadata", f"judge_engine=hf,judge_model={family.guard}"),
    )
    assert ran.status == 0, ran.err[-3000:]
    summary = find_runs(output)[-1].summary()
    row = summary["results"]["mysuite_asr"]
    assert row["asr,wildguard"] > 0.3
    counts = summary["configs"]["mysuite_asr"]["metadata"]["safemerge"]["counts"]["wildguard"]
    categories = ("asr[Red]", "asr[Green and blue]", "asr[Ötzi]")
    assert set(counts) == {"asr", *categories}
    for key in ("harmful", "scored", "total"):
        assert sum(counts[name][key] for name in categories) == counts["asr"][key]
    assert all(f"|{name}" in ran.out for name in categories)
