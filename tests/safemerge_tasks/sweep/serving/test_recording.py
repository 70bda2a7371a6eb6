"""lm-eval's own requests, of every kind, in its order."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.record import record
from safemerge_tasks.sweep.serving.recording import Recording, Request


def test_every_kind_is_recorded_in_lm_evals_order(recording: Recording) -> None:
    assert Counter(request.task for request in recording.requests) == {
        "water_greedy": 3,
        "water_sampled": 9,
        "water_choice": 9,
        "water_rolling": 3,
    }
    kinds = [request.kind for request in recording.requests]
    assert kinds == ["generate_until"] * 12 + ["loglikelihood"] * 9 + ["loglikelihood_rolling"] * 3
    assert Counter(request.repeat for request in recording.requests if request.samples) == {
        0: 3,
        1: 3,
        2: 3,
    }


def test_prompts_are_rendered_with_the_bases_chat_template(recording: Recording) -> None:
    prompt, settings = recording.requests[0].arguments
    assert prompt == "<s>user: Is the water warm?\nassistant: "
    assert settings["max_gen_toks"] == 8
    choice = next(request for request in recording.requests if request.kind == "loglikelihood")
    assert choice.arguments == ("<s>user: Is the water warm?\nassistant: ", "warm")


def test_tokens_are_counted_for_every_prompt(recording: Recording, tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = [
        "".join(part for part in request.arguments if isinstance(part, str))
        for request in recording.requests
    ]
    counted = sum(len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
    assert recording.prompt_tokens == counted


def test_what_is_saved_is_what_is_loaded(recording: Recording, tmp_path: Path) -> None:
    recording.save(tmp_path / "requests.json")
    loaded = Recording.load(tmp_path / "requests.json")
    assert loaded == recording
    assert loaded.digest == recording.digest


def test_the_digest_is_of_what_shapes_responses(recording: Recording) -> None:
    first, *others = recording.requests
    prompt, settings = first.arguments
    warmer = replace(first, arguments=(prompt, {**settings, "max_gen_toks": 9}))
    longer = replace(first, arguments=(prompt + " ", settings))
    changed = [
        replace(recording, requests=(warmer, *others)),
        replace(recording, requests=(longer, *others)),
        replace(recording, requests=(*others, first)),
        replace(recording, requests=tuple(others)),
    ]
    assert len({recording.digest, *(one.digest for one in changed)}) == 5
    scored_elsewhere = replace(recording, evaluation=Evaluation(tasks=("other",), base="base"))
    assert scored_elsewhere.digest == recording.digest


def test_a_changed_or_missing_recording_is_refused(recording: Recording, tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    with pytest.raises(SafemergeError, match="does not exist; record"):
        Recording.load(path)
    recording.save(path)
    content = json.loads(path.read_text())
    content["requests"][0][5][0] = "Is the water deep?"
    path.write_text(json.dumps(content))
    with pytest.raises(SafemergeError, match="changed by hand; delete it"):
        Recording.load(path)
    path.write_text("{}")
    with pytest.raises(
        SafemergeError, match="is no recording of this version, or was cut short; delete it"
    ):
        Recording.load(path)


def test_unknown_tasks_and_bases_are_one_sentence(evaluation: Evaluation, tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="water_gready is no task of lm-eval or of"):
        record(evaluation.model_copy(update={"tasks": ("water_gready",)}))
    with pytest.raises(SafemergeError, match="has no tokenizer and configuration"):
        record(evaluation.model_copy(update={"base": str(tmp_path)}))


def test_settings_of_lm_eval_reach_the_requests(evaluation: Evaluation) -> None:
    short = evaluation.model_copy(
        update={
            "tasks": ("water_greedy",),
            "limit": 1,
            "system_instruction": "Be brief.",
            "gen_kwargs": {"max_gen_toks": 2},
        }
    )
    (request,) = record(short).requests
    assert request.arguments[0].startswith("<s>system: Be brief.\nuser: ")
    assert request.arguments[1]["max_gen_toks"] == 2


def test_the_data_folder_is_set_only_while_tasks_load(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", "before")
    record(evaluation.model_copy(update={"tasks": ("water_greedy",), "data_dir": "elsewhere"}))
    assert os.environ["SAFEMERGE_DATA_DIR"] == "before"


def test_an_evaluation_goes_through_json(evaluation: Evaluation) -> None:
    written = json.loads(json.dumps(evaluation.model_dump(mode="json")))
    assert Evaluation.model_validate(written) == evaluation
    with pytest.raises(ValueError, match="tusks"):
        Evaluation.model_validate({**written, "tusks": []})


def test_judging_is_always_deferred() -> None:
    metadata = {"judge": "wildguard", "x": 1}
    evaluation = Evaluation(tasks=("advbench_asr",), base="base", metadata=metadata)
    assert evaluation.task_metadata == {"pretrained": "base", "judge": "deferred", "x": 1}


def generation(repeat: int = 0, doc_id: int = 0, **settings: float | bool) -> Request:
    return Request("generate_until", "task", doc_id, 0, repeat, ("Hello", settings))


@pytest.mark.parametrize(
    ("settings", "samples"),
    [
        ({}, True),
        ({"do_sample": False}, False),
        ({"temperature": 0.0}, False),
        ({"temperature": 0.6}, True),
        ({"do_sample": False, "temperature": 0.6}, False),
        ({"do_sample": True, "temperature": 0.6}, True),
        ({"do_sample": True}, True),
        ({"do_sample": True, "temperature": 0.0}, False),
    ],
)
def test_sampling_follows_lm_evals_rule(settings: dict[str, float | bool], samples: bool) -> None:
    from lm_eval.models.utils import normalize_gen_kwargs

    request = generation(**settings)
    normal = normalize_gen_kwargs(dict(settings))
    assert request.samples is samples
    assert request.greedy is not samples
    assert (normal.get("temperature", 1.0) > 0) is samples  # vLLM's own default is 1


def test_seeds_differ_between_repeats_and_documents_only() -> None:
    seeds = {
        generation(repeat, doc_id, temperature=0.6).seed(1234)
        for repeat in range(4)
        for doc_id in range(4)
    }
    assert len(seeds) == 16
    assert generation(temperature=0.6).seed(1234) == generation(temperature=0.6).seed(1234)
    assert generation(temperature=0.6).seed(1234) != generation(temperature=0.6).seed(1)
