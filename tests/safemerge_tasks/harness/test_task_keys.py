"""No key of lm-eval's task format is accepted and ignored."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from lm_eval.config.task import TaskConfig
from lm_eval.tasks._yaml_loader import load_yaml

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import HarmfulQuestions, HumanEval, ReferenceAnswers
from safemerge_tasks.harness.task_keys import HONOURED, ONLY
from safemerge_tasks.suites.places import packaged_folder
from safemerge_tasks.sweep.serving.asking import leaves
from safemerge_tasks.sweep.serving.evaluation import Evaluation

REFUSED: Mapping[str, Any] = {
    "custom_dataset": len,
    "dataset_path": "bread",
    "dataset_name": "bread",
    "training_split": "train",
    "validation_split": "validation",
    "fewshot_split": "test",
    "test_split": "validation",
    "process_docs": len,
    "doc_to_image": "image",
    "doc_to_audio": "audio",
    "doc_to_choice": ["a", "b"],
    "use_prompt": "promptsource:*",
    "fewshot_delimiter": "\n",
    "fewshot_config": {"sampler": "first_n"},
    "num_fewshot": 3,
    "output_type": "multiple_choice",
    "filter_list": [{"name": "f", "filter": [{"function": "take_first"}]}],
    "should_decontaminate": True,
    "doc_to_decontamination_query": "question",
    "process_results": len,
}
"""A value of each key that would have no effect."""

WRONG: Mapping[str, Any] = {
    "repeats": 0,
    "metric_list": [{"metric": "bleu", "aggregation": "mean", "higher_is_better": True}],
    "dataset_kwargs": {"suite": "kitchen", "loaf": 1},
    "generation_kwargs": {"until": [], "num_return_sequences": 4},
    "doc_to_text": 3,
    "description": "You bake {{question}}.",
    "gen_prefix": 3,
}
"""A value of each key that is honoured, but cannot mean what it says."""

QUESTIONS = {
    "suite": "kitchen",
    "parts": [{"file": "kitchen.csv"}],
    "question": "q",
    "fields": {"reference": ["q"]},
}


@pytest.fixture
def build(data: Path, minilm: Path) -> Callable[..., Any]:
    """Return what builds a task of a class from keys over a suite's own."""
    (data / "kitchen.csv").write_text("q\nBread?\nTea?\n")

    def make(task: type, **keys: Any) -> Any:
        scored_by = {"judge": "keywords", "bertscore_model": str(minilm), "bertscore_layer": 6}
        given = {"dataset_kwargs": dict(QUESTIONS), "metadata": {"version": 1, **scored_by}}
        return task(config={"task": "kitchen", "class": task, **given, **keys})

    return make


def test_every_field_of_lm_evals_format_is_decided_on() -> None:
    """A field that a new lm-eval adds is honoured or refused by hand, or fails here."""
    theirs = {field.name for field in fields(TaskConfig)}
    own = {"repeats", "metric_list", "process_results", "dataset_kwargs"}
    assert theirs == HONOURED | ONLY.keys() | own
    assert not HONOURED & (ONLY.keys() | own)
    assert REFUSED.keys() == ONLY.keys() | {"process_results"}


@pytest.mark.parametrize("key", [*REFUSED, *WRONG])
@pytest.mark.parametrize("task", [HarmfulQuestions, ReferenceAnswers])
def test_a_key_without_effect_is_refused_in_one_sentence(
    build: Callable[..., Any], task: type, key: str
) -> None:
    value = {**REFUSED, **WRONG}[key]
    with pytest.raises(SafemergeError, match=key.replace("_", "."), check=_one_sentence):
        build(task, **{key: value})


def _one_sentence(error: SafemergeError) -> bool:
    return "\n" not in str(error) and str(error).startswith("kitchen: ")


def test_a_new_key_of_lm_eval_is_refused(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = TaskConfig.__dataclass_fields__["gen_prefix"]
    monkeypatch.setitem(TaskConfig.__dataclass_fields__, "gen_suffix", _named(added, "gen_suffix"))
    with pytest.raises(SafemergeError, match="`gen_suffix` is a key of this lm-eval"):
        build(HarmfulQuestions, gen_suffix="x")


def _named(one: Any, name: str) -> Any:
    from copy import copy

    other = copy(one)
    other.name = name
    return other


def test_a_misspelt_key_is_named(build: Callable[..., Any]) -> None:
    with pytest.raises(SafemergeError, match="gen_prefx is not a key of lm-eval.*gen_prefix"):
        build(HarmfulQuestions, gen_prefx="Sure")


def test_answers_with_a_reference_are_not_repeated(build: Callable[..., Any]) -> None:
    with pytest.raises(SafemergeError, match="`repeats: 4` would pay for answers"):
        build(ReferenceAnswers, repeats=4)


@pytest.mark.parametrize(
    "entry",
    [
        {"metric": "asr", "aggregation": "median"},
        {"metric": "asr", "ignore_case": True},
        "bleu",
    ],
)
def test_metrics_are_only_ours(build: Callable[..., Any], entry: Any) -> None:
    with pytest.raises(SafemergeError, match="metric_list"):
        build(HarmfulQuestions, metric_list=[entry])


def test_humaneval_has_its_own_problems(data: Path) -> None:
    given = {"task": "he", "metadata": {"sandbox": "none"}, "dataset_kwargs": {"suite": "x"}}
    with pytest.raises(SafemergeError, match="the problems are fixed"):
        HumanEval(config=given)
    yaml = load_yaml(packaged_folder() / "humaneval/humaneval_pass10.yaml")
    metadata = {**yaml["metadata"], "sandbox": "none"}
    assert HumanEval(config={**yaml, "metadata": metadata, "repeats": 12}).config.repeats == 12
    metadata["humaneval_samples"] = 20
    assert HumanEval(config={**yaml, "metadata": metadata, "repeats": 12}).config.repeats == 20


@pytest.mark.parametrize("key", [*REFUSED, *WRONG])
def test_the_sweep_says_it_too(data: Path, key: str) -> None:
    (data / "kitchen.csv").write_text("q\nBread?\n")
    given = {"task": "kitchen", "dataset_kwargs": QUESTIONS, "metadata": {"version": 1}}
    given[key] = {**REFUSED, **WRONG}[key]
    lines = [
        f"{name}: {'!function builtins.len' if value is len else json.dumps(value)}\n"
        for name, value in given.items()
    ]
    (data / "k.yaml").write_text(
        f"class: !function safemerge_tasks.harness.HarmfulQuestions\n{''.join(lines)}"
    )
    evaluation = Evaluation(tasks=("kitchen",), base="nowhere", include_path=str(data))
    with pytest.raises(SafemergeError, match=key.replace("_", "."), check=_one_sentence):
        leaves(evaluation, "kitchen")
