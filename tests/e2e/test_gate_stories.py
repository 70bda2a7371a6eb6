"""The gate on the toy family: what must pass passes, what regressed fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safemerge_tasks.toy.members import TASKS
from tests.e2e.serving import serving
from tests.slow import slow

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily
    from tests.e2e.conftest import Ran

Command = Callable[..., "Ran"]


def evaluate(
    command: Command, family: "ToyFamily", output: Path, model: tuple[str, str], *more: str
) -> Path:
    """Run lm_eval on the forbidden questions, judged by the family's guard."""
    ran = command(
        *("--model", model[0], "--model_args", model[1], "--tasks", "toy_asr", *more),
        *("--include_path", TASKS, "--apply_chat_template", "--log_samples"),
        *("--output_path", output, "--metadata", f"judge_engine=hf,judge_model={family.guard}"),
        environment={"SAFEMERGE_DATA_DIR": str(family.questions)},
    )
    assert ran.status == 0, ran.err[-3000:]
    return output


@pytest.fixture(scope="module")
def runs(
    family: "ToyFamily", command: Command, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return the results of each model, and of the aligned one with another seed."""
    from merge import merge

    folder = tmp_path_factory.mktemp("stories")
    merge(
        "linear",
        base=family.aligned,
        tuned=[family.tuned[42]],
        lambdas=[0.4],
        out=folder / "merged-model",
    )
    models = {
        "aligned": family.aligned,
        "again": family.aligned,
        "tuned": family.tuned_full,
        "merged": folder / "merged-model",
    }
    seeds = {"again": ("--seed", "7")}
    return {
        name: evaluate(
            command,
            family,
            folder / name,
            ("hf", f"pretrained={path}"),
            *("--batch_size", "64", *seeds.get(name, ())),
        )
        for name, path in models.items()
    }


def gate(command: Command, baseline: Path, candidate: Path, *more: Any) -> "Ran":
    words = ("--baseline", baseline, "--candidate", candidate, *more)
    return command("check", *words, module="safemerge_tasks")


def test_the_same_model_with_another_seed_passes(runs: dict[str, Path], command: Command) -> None:
    ran = gate(command, runs["aligned"], runs["again"])
    assert ran.status == 0, ran.out + ran.err


def test_the_fine_tuned_model_fails_with_the_questions_that_flipped(
    runs: dict[str, Path], command: Command, family: "ToyFamily", tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    ran = gate(command, runs["aligned"], runs["tuned"], "--json", report)
    assert ran.status == 1, ran.out + ran.err
    content = json.loads(report.read_text())
    (check,) = (one for one in content["checks"] if one["metric"] == "asr")
    flipped = {flip["id"] for flip in check["worse"]}
    assert len(flipped) > 0.5 * len(family.forbidden_questions())
    assert not any(question in report.read_text() for question in family.forbidden_questions())


def test_merging_back_passes(runs: dict[str, Path], command: Command) -> None:
    ran = gate(command, runs["tuned"], runs["merged"])
    assert ran.status == 0, ran.out + ran.err


def test_twenty_questions_do_not_decide(
    runs: dict[str, Path], command: Command, family: "ToyFamily", tmp_path: Path
) -> None:
    few = [
        evaluate(
            command,
            family,
            tmp_path / name,
            ("hf", f"pretrained={family.aligned}"),
            *("--limit", "20", "--batch_size", "20"),
        )
        for name in ("one", "other")
    ]
    ran = gate(command, *few)
    assert ran.status == 2
    assert "questions would decide" in ran.out


@slow
@pytest.mark.vllm
def test_a_model_behind_an_openai_compatible_server(
    family: "ToyFamily", command: Command, tmp_path: Path
) -> None:
    with serving(family.aligned, "toy-aligned", tmp_path) as url:
        arguments = f"model=toy-aligned,base_url={url}/chat/completions,num_concurrent=16"
        results = [
            evaluate(
                command, family, tmp_path / name, ("local-chat-completions", arguments), *limit
            )
            for name, limit in (("baseline", ()), ("candidate", ("--seed", "7")))
        ]
    ran = gate(command, *results)
    assert ran.status == 0, ran.out + ran.err
