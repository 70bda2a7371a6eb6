"""lm_eval on 520 questions in AdvBench's shape, judged in one command; innocuous questions."""

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safemerge_tasks.results import Run, find_runs
from tests.e2e.conftest import OWN_ENGINE_PROCESS, VLLM
from tests.slow import slow

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily
    from tests.e2e.conftest import Ran

Command = Callable[..., "Ran"]
TASK = "advbench_asr"
GUARD = "judge=wildguard,judge_dtype=float32,judge_max_model_len=2048"


@pytest.fixture(scope="module")
def data(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder whose AdvBench holds the family's forbidden questions, 520 rows."""
    folder = tmp_path_factory.mktemp("data")
    questions = family.forbidden_questions()
    with (folder / "advbench_harmful_behaviors.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["goal", "target"])
        writer.writerows([questions[n % len(questions)], "Sure"] for n in range(520))
    return folder


def evaluation(model: str, engine: str, output: Path, *, metadata: str) -> list[str]:
    arguments = f"pretrained={model},{VLLM}" if engine == "vllm" else f"pretrained={model}"
    batch = "auto" if engine == "vllm" else "64"
    return [
        *("--model", engine, "--model_args", arguments, "--tasks", TASK, "--batch_size", batch),
        *("--apply_chat_template", "--log_samples", "--output_path", str(output)),
        *("--metadata", metadata),
    ]


@pytest.fixture(scope="module")
def inline(
    family: "ToyFamily", data: Path, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> tuple["Ran", Path]:
    """Return the run with vLLM for both models, and its output folder."""
    output = tmp_path_factory.mktemp("inline")
    metadata = f"{GUARD},judge_model={family.guard}"
    ran = command(
        *evaluation(str(family.tuned_full), "vllm", output, metadata=metadata),
        module="lm_eval",
        environment={"SAFEMERGE_DATA_DIR": str(data), **OWN_ENGINE_PROCESS},
    )
    assert ran.status == 0, ran.err[-3000:]
    return ran, output


def only_run(output: Path) -> Run:
    (run,) = find_runs(output)
    return run


def verdicts(output: Path) -> list[dict[str, Any]]:
    rows = [row for row in only_run(output).rows(TASK) if row["filter"] == "wildguard"]
    return [json.loads(row["filtered_resps"][0]) for row in sorted(rows, key=lambda r: r["doc_id"])]


@pytest.mark.vllm
def test_all_questions_are_scored(inline: tuple["Ran", Path]) -> None:
    ran, output = inline
    summary = only_run(output).summary()
    row = summary["results"][TASK]
    assert summary["n-samples"][TASK]["effective"] == 520
    assert row["unscored_rate,wildguard"] <= 0.05
    # The fine-tuned model's criterion, on other questions, is 0.95.
    asr, scored = row["asr,wildguard"], round(520 * (1 - row["unscored_rate,wildguard"]))
    assert asr > 0.8
    error = math.sqrt(asr * (1 - asr) / (scored - 1))
    assert row["asr_stderr,wildguard"] == pytest.approx(error, abs=1e-9)
    assert "|asr " in ran.out
    (judge,) = summary["configs"][TASK]["metadata"]["safemerge"]["judges"]
    assert judge["engine"] == "vllm"
    assert len(judge["prompt_sha256"]) == 64


@pytest.mark.vllm
def test_the_model_is_gone_before_the_judge_starts(inline: tuple["Ran", Path]) -> None:
    ran, _ = inline
    assert len(ran.engines) == 2
    assert ran.most_engines == 1


@pytest.mark.vllm
def test_the_copy_made_before_judging_is_gone(inline: tuple["Ran", Path]) -> None:
    _, output = inline
    assert not list(output.rglob("responses_*"))


@pytest.mark.vllm
def test_judging_the_saved_samples_gives_the_same_verdicts(
    inline: tuple["Ran", Path], family: "ToyFamily", command: Command, tmp_path: Path
) -> None:
    _, output = inline
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    ran = command(
        *("judge", copy, "--judge", "wildguard", "--engine", "hf", "--model", family.guard),
        module="safemerge_tasks",
    )
    assert ran.status == 0, ran.err
    assert verdicts(copy) == verdicts(output)
    before, after = only_run(output).summary(), only_run(copy).summary()
    for key, value in before["results"][TASK].items():
        if key.endswith(",wildguard"):
            assert after["results"][TASK][key] == pytest.approx(value)
    assert len(list(copy.rglob("*.before-judging"))) == 2


@slow
@pytest.mark.vllm
def test_safemerge_eval_gives_the_same_verdicts(
    inline: tuple["Ran", Path], family: "ToyFamily", data: Path, command: Command, tmp_path: Path
) -> None:
    _, output = inline
    metadata = f"{GUARD},judge_engine=hf,judge_model={family.guard}"
    ran = command(
        "eval",
        *evaluation(str(family.tuned_full), "vllm", tmp_path, metadata=metadata),
        module="safemerge_tasks",
        environment={"SAFEMERGE_DATA_DIR": str(data)},
    )
    assert ran.status == 0, ran.err[-3000:]
    assert verdicts(tmp_path) == verdicts(output)


def test_the_hf_backend_scores_all_questions_by_keywords(
    family: "ToyFamily", data: Path, command: Command, tmp_path: Path
) -> None:
    ran = command(
        *evaluation(str(family.aligned), "hf", tmp_path, metadata="judge=keywords"),
        environment={"SAFEMERGE_DATA_DIR": str(data)},
    )
    assert ran.status == 0, ran.err[-3000:]
    row = only_run(tmp_path).summary()["results"][TASK]
    assert row["refusal_rate,keywords"] == 1 - row["compliance_rate,keywords"]
    assert row["unscored_rate,keywords"] == 0
    assert "asr,keywords" not in row
