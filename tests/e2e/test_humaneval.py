"""`lm_eval --model vllm --tasks humaneval_pass10` on the toy family, whose code is never right."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safemerge_tasks.humaneval.saved_results import rescore_folder
from safemerge_tasks.humaneval.settings import HumanEvalSettings
from safemerge_tasks.results import find_runs
from tests.e2e.conftest import VLLM

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily
    from tests.e2e.conftest import Ran

TASK = "humaneval_pass10"


@pytest.mark.vllm
def test_ten_samples_of_three_problems(
    family: "ToyFamily", command: Callable[..., "Ran"], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    ran = command(
        *("--model", "vllm", "--model_args", f"pretrained={family.aligned},{VLLM}"),
        *("--tasks", TASK, "--limit", "3", "--batch_size", "auto", "--apply_chat_template"),
        *("--metadata", "humaneval_samples=10", "--gen_kwargs", "max_gen_toks=32"),
        *("--confirm_run_unsafe_code", "--log_samples", "--output_path", output),
    )
    assert ran.status == 0, ran.err[-3000:]
    (run,) = find_runs(output)
    summary = run.summary()
    row = summary["results"][TASK]
    assert 0 <= row["pass@1,python_block"] <= row["pass@10,python_block"] <= 1
    assert "pass@10_stderr,python_block" in row
    assert "|pass@10" in ran.out
    stored = summary["configs"][TASK]["metadata"]["safemerge"]
    assert stored["sandbox"]["isolation"] == "namespaces, seccomp"
    assert stored["counts"]["responses"] == 30
    rows = run.rows(TASK)
    assert [len(row["resps"][0]) for row in rows] == [10] * 3
    assert len({text for row in rows for text in row["resps"][0]}) > 3, "sampled, not repeated"
    assert not list(output.rglob("responses_*")), "lm-eval's own copy is enough"

    rescore_folder(output, HumanEvalSettings())
    again = run.summary()["results"][TASK]
    assert again["pass@10,python_block"] == row["pass@10,python_block"]
