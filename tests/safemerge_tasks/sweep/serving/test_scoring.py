"""Recorded, answered and replayed, lm-eval's results are what its own run gives."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.results import Run, find_runs
from safemerge_tasks.sweep.serving.answering import (
    Asked,
    EngineSettings,
    Listener,
    answer_with_adapters,
    answer_with_checkpoints,
)
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.recording import Recording, Request
from safemerge_tasks.sweep.serving.responses import Responses, compare_responses
from safemerge_tasks.sweep.serving.scoring import score

HF = EngineSettings(model="hf", model_args={"dtype": "float32"}, batch_size=4)
SAMPLED = "water_sampled"
NOBODY = Listener(lambda _name: None)


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a LoRA adapter that changes what the tiny model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def answered(
    tiny_model: Path,
    adapter: Path,
    recording_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Return the files of the responses of the base, of its adapter and of a checkpoint."""
    folder = tmp_path_factory.mktemp("responses")
    files = {name: folder / f"{name}.json" for name in ("base", "adapter", "checkpoint")}
    told: list[tuple[int, int]] = []
    done: list[str] = []
    asked = [
        Asked("base", recording_file, files["base"]),
        Asked("adapter", recording_file, files["adapter"], adapter=adapter),
    ]
    answer_with_adapters(
        str(tiny_model), asked, HF, Listener(done.append, lambda *numbers: told.append(numbers))
    )
    assert done == ["base", "adapter"]
    # A sign of life at each batch, which changes nothing, and a step at each variant.
    assert list(dict.fromkeys(told)) == [(0, 48), (24, 48), (48, 48)]
    assert told.count((0, 48)) > 3
    checkpoint = Asked("c", recording_file, files["checkpoint"], checkpoint=tiny_model)
    answer_with_checkpoints([checkpoint], HF, Listener(done.append), folder)
    return files


def lm_evals_own(evaluation: Evaluation, folder: Path, **model_args: Any) -> Run:
    """Run lm-eval's command line; return what it saved."""
    from lm_eval.__main__ import cli_evaluate

    words = {
        "model": "hf",
        "model_args": ",".join(f"{key}={value}" for key, value in model_args.items()),
        "tasks": ",".join(evaluation.tasks),
        "include_path": evaluation.include_path,
        "batch_size": "4",
        "output_path": str(folder),
    }
    arguments = [part for key, value in words.items() for part in (f"--{key}", str(value))]
    flags = ["--apply_chat_template", "--log_samples"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lm_eval", "run", *arguments, *flags])
        cli_evaluate()
    return find_runs(folder)[0]


def test_scores_and_samples_are_those_of_lm_evals_own_run(
    evaluation: Evaluation,
    recording: Recording,
    answered: dict[str, Path],
    adapter: Path,
    tmp_path: Path,
) -> None:
    model_args = {"pretrained": evaluation.base, "dtype": "float32"}
    for name, further in {"base": {}, "adapter": {"peft": adapter}}.items():
        own = lm_evals_own(evaluation, tmp_path / f"own-{name}", **model_args, **further)
        ours = score(evaluation, recording, answered[name], tmp_path / name, model_args)
        theirs, replayed = own.summary(), ours.summary()
        assert theirs.keys() == replayed.keys()
        assert replayed["config"]["model"] == "hf"
        assert replayed["config"]["model_args"] == model_args
        assert replayed["config"]["replayed"]["recording"] == recording.digest
        for task in evaluation.tasks:
            if task == SAMPLED:
                continue
            assert replayed["results"][task] == theirs["results"][task]
            assert ours.rows(task) == own.rows(task)
        (first, *_) = ours.rows(SAMPLED)
        assert first.keys() == own.rows(SAMPLED)[0].keys()
        assert len(first["resps"][0]) == 3


def test_the_adapter_answers_otherwise_and_the_same_weights_alike(
    answered: dict[str, Path],
) -> None:
    other = compare_responses(answered["base"], answered["adapter"])
    assert (other.equal, other.total) != (3, 3)
    same = compare_responses(answered["base"], answered["checkpoint"])
    assert (same.equal, same.total) == (3, 3)


def test_a_replay_of_other_requests_is_refused(
    evaluation: Evaluation, recording: Recording, answered: dict[str, Path], tmp_path: Path
) -> None:
    other = evaluation.model_copy(update={"system_instruction": "Be brief."})
    with pytest.raises(SafemergeError, match="water_greedy, document 0: .* something else"):
        score(other, recording, answered["base"], tmp_path / "out", {})
    fewer = evaluation.model_copy(update={"limit": 2})
    with pytest.raises(SafemergeError, match="now asks 8 generate_until requests, but 12 were"):
        score(fewer, recording, answered["base"], tmp_path / "out", {})
    assert list(tmp_path.iterdir()) == []


def test_prompts_may_come_out_otherwise_than_they_were_recorded(
    evaluation: Evaluation, recording: Recording, answered: dict[str, Path], tmp_path: Path
) -> None:
    """As they do after midnight, where a chat template has today's date."""

    def yesterday(request: Request) -> Request:
        prompt, *rest = request.arguments
        return replace(request, arguments=(f"It was yesterday. {prompt}", *rest))

    then = replace(recording, requests=tuple(map(yesterday, recording.requests)))
    told = Responses.load(answered["base"])
    replace(told, recording=then.digest).save(tmp_path / "responses.json")
    run = score(evaluation, then, tmp_path / "responses.json", tmp_path / "out", {})
    today = score(evaluation, recording, answered["base"], tmp_path / "today", {})
    assert run.summary()["results"] == today.summary()["results"]
    for task in evaluation.tasks:
        assert all("It was yesterday." in str(row["arguments"]) for row in run.rows(task))


def test_responses_to_another_recording_are_refused(
    evaluation: Evaluation, recording: Recording, answered: dict[str, Path], tmp_path: Path
) -> None:
    shorter = replace(recording, requests=recording.requests[:5])
    with pytest.raises(SafemergeError, match="answers another recording"):
        score(evaluation, shorter, answered["base"], tmp_path / "out", {})
    content = json.loads(answered["base"].read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**content, "recording": shorter.digest}))
    with pytest.raises(SafemergeError, match="answer different recordings"):
        compare_responses(answered["base"], other)


def test_documents_that_changed_meanwhile_are_refused(
    evaluation: Evaluation, recording: Recording, answered: dict[str, Path], tmp_path: Path
) -> None:
    """As they are where a task walks through a set to choose them."""
    other = replace(recording, scoring="0")
    with pytest.raises(SafemergeError, match="sort them, or seed what is drawn"):
        score(evaluation, other, answered["base"], tmp_path / "out", {})


def test_who_is_not_wanted_any_more_is_not_asked(
    tiny_model: Path, recording_file: Path, tmp_path: Path
) -> None:
    done: list[str] = []
    asked = [Asked(name, recording_file, tmp_path / f"{name}.json") for name in ("one", "two")]
    listener = Listener(done.append, unwanted=lambda one: one.name == "one")
    answer_with_adapters(str(tiny_model), asked, HF, listener)
    assert done == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["two.json"]


def test_scoring_again_replaces_what_was_there(
    evaluation: Evaluation, recording: Recording, answered: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = score(evaluation, recording, answered["base"], out, {})
    second = score(evaluation, recording, answered["base"], out, {})
    assert not first.path.exists()
    assert [run.path for run in find_runs(tmp_path)] == [second.path]
    assert second.samples.keys() == set(evaluation.tasks)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ([("a", "x", None), ("a", "y", None)], "a is asked twice"),
        ([("a", None, "x")], "a is a checkpoint"),
    ],
)
def test_what_does_not_fit_is_said_before_an_engine_starts(
    recording_file: Path,
    tmp_path: Path,
    asked: list[tuple[str, str | None, str | None]],
    reason: str,
) -> None:
    variants = [
        Asked(
            name,
            recording_file,
            tmp_path / name,
            Path(adapter) if adapter else None,
            Path(checkpoint) if checkpoint else None,
        )
        for name, adapter, checkpoint in asked
    ]
    with pytest.raises(SafemergeError, match=reason):
        answer_with_adapters("base", variants, HF, NOBODY)


def test_an_adapter_is_no_checkpoint(recording_file: Path, tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="b is no checkpoint"):
        answer_with_checkpoints([Asked("b", recording_file, tmp_path)], HF, NOBODY, tmp_path)
