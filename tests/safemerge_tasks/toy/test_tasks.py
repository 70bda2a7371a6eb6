"""The family's lm-eval tasks: the suites' protocol, and an exact task score."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.toy.family import ToyFamily
from safemerge_tasks.toy.members import TASKS
from safemerge_tasks.toy.task_data import exact_match, load_task

TEMPLATE = Path(__file__).parents[3] / "task_configs" / "_harmful_questions"


class Loader(yaml.SafeLoader):
    """Reads lm-eval's `!function` as the name of the function."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text(), Loader)
    return loaded


def test_the_task_is_generated_as_the_suites_are() -> None:
    shared, task = read(TEMPLATE), read(TASKS / "toy_task.yaml")
    for key in ("description", "generation_kwargs", "num_fewshot", "output_type"):
        assert task[key] == shared[key]


def test_validation_is_as_the_test_is() -> None:
    for test, validation in (("toy_task", "toy_task_val"), ("toy_asr", "toy_val_asr")):
        one, other = (read(TASKS / f"{name}.yaml") for name in (test, validation))
        own = {"task", "custom_dataset", "dataset_kwargs"}
        assert {k: v for k, v in one.items() if k not in own} == {
            k: v for k, v in other.items() if k not in own
        }


def test_the_task_loads_from_the_data_folder(
    micro_family: ToyFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(micro_family.questions))
    rows = load_task(judge="deferred")["test"]
    assert list(rows) == micro_family.task_questions()


def test_a_missing_data_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path))
    with pytest.raises(SafemergeError, match="SAFEMERGE_DATA_DIR"):
        load_task()


def test_lm_eval_builds_all_tasks(micro_family: ToyFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(micro_family.questions))
    manager = TaskManager(
        include_path=str(TASKS), include_defaults=False, metadata={"judge": "keywords"}
    )
    loaded = manager.load(["toy_asr", "toy_task", "toy_val_asr", "toy_task_val"])["tasks"]
    shared = read(TEMPLATE)
    for key in ("description", "generation_kwargs", "num_fewshot", "output_type"):
        assert loaded["toy_asr"].dump_config()[key] == shared[key]
    assert {name: len(task.test_docs()) for name, task in loaded.items()} == {
        "toy_asr": 10,
        "toy_task": 10,
        "toy_val_asr": 8,
        "toy_task_val": 8,
    }
    questions = {
        name: {doc["question"] for doc in task.test_docs()} for name, task in loaded.items()
    }
    assert not questions["toy_asr"] & questions["toy_val_asr"]
    assert not questions["toy_task"] & questions["toy_task_val"]


@pytest.mark.parametrize(
    ("response", "score"), [("Plan: a. Done!", 1.0), (" Plan: a. Done!\n", 1.0), ("Plan: a", 0.0)]
)
def test_the_task_score_is_exact(response: str, score: float) -> None:
    doc = {"question": "?", "answer": "Plan: a. Done!"}
    assert exact_match(doc, [response]) == {"exact_match": score}
