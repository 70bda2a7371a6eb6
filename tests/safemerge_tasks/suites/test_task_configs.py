"""Every suite of the package, loaded by lm-eval itself from data in its real shape."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.tasks import TaskManager

from safemerge_tasks.harness import harmful_questions
from safemerge_tasks.suites import function_call

SYSTEM_PROMPTS = {
    "chatdoctor": "If you are a doctor, please answer the medical questions based on the patient's "
    "description.|",
    "openfunctions": "You are a helpful assistant. Complete the following code and return only the "
    "completed code, without any explanations or additional text.|",
}
"""Of the suites that have another one than the suites of harmful questions."""

VERSIONS = {
    "chatdoctor_bertscore": 2.0,
    "flan_cot_bertscore_val": 2.0,
    "hexphi_asr": 2.0,
    "magicoder_bertscore_val": 3.0,
    "openfunctions_bertscore": 2.0,
    "openfunctions_bertscore_16": 2.0,
    "openfunctions_bertscore_val": 2.0,
}
"""Of the tasks whose results before are not comparable."""

# Another task of the package, with tests of its own.
APART = ("humaneval",)

TASKS = sorted(
    path.stem
    for path in (Path(__file__).parents[3] / "task_configs").rglob("*.yaml")
    if "group:" not in path.read_text(encoding="utf-8") and not path.stem.startswith(APART)
)


@pytest.fixture
def manager(repository: Path, minilm: Path) -> Iterator[TaskManager]:
    """Return lm-eval's manager on the source checkout, with a judge and an encoder for tests."""
    harmful_questions._shared_judge.cache_clear()
    yield TaskManager(
        include_path=str(repository / "task_configs"),
        include_defaults=False,
        metadata={"judge": "keywords", "bertscore_model": str(minilm), "bertscore_layer": 6},
    )
    harmful_questions._shared_judge.cache_clear()


def test_every_file_is_indexed_under_its_own_name(repository: Path, manager: TaskManager) -> None:
    files = {path.stem for path in (repository / "task_configs").rglob("*.yaml")}
    assert set(manager.all_tasks) == files
    assert not list((repository / "task_configs").rglob("*.yml"))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_loaded_and_rendered(every_suite: Path, manager: TaskManager, task: str) -> None:
    loaded: Any = manager.load(task)["tasks"][task]
    loaded.build_all_requests(
        apply_chat_template=True,
        chat_template=lambda messages, **_: "|".join(m["content"] for m in messages),
        tokenizer_name="none",
    )
    questions = [doc["question"] for doc in loaded.eval_docs]
    turns = questions
    if "openfunctions" in task:
        turns = [function_call.prompt(doc) for doc in loaded.eval_docs]
    prompts = [instance.args[0] for instance in loaded.instances]
    system = SYSTEM_PROMPTS.get(task.partition("_")[0], "You are a helpful assistant.|")
    assert prompts == [f"{system}{turn}" for turn in turns]
    if "bertscore" in task:
        assert all(loaded.doc_to_target(doc) == doc["reference"] for doc in loaded.eval_docs)
        assert all(doc["reference"] for doc in loaded.eval_docs)
    assert {tuple(instance.args[1]["until"]) for instance in loaded.instances} == {()}
    assert len({doc["id"] for doc in loaded.eval_docs}) == len(questions)
    assert VERSIONS.get(task, 1.0) == loaded.VERSION


def test_the_group_of_everything_holds_every_suite_of_harmful_questions_whole(
    every_suite: Path, manager: TaskManager
) -> None:
    tasks = manager.load("safemerge_safety")["tasks"]
    assert sum(len(task.eval_docs) for task in tasks.values()) == (
        520 + 300 + 3 * 550 + 1960 + 500 + 200
    )
    assert "overrefusal" not in tasks


def test_the_group_of_catqa_has_a_row_for_each_category(
    every_suite: Path, manager: TaskManager
) -> None:
    loaded = manager.load("catqa_asr")
    rows = loaded["groups"]["catqa_asr"].aggregate_metric_list
    categories = {doc["category"] for task in loaded["tasks"].values() for doc in task.eval_docs}
    named = {row.metric for row in rows}
    assert {f"asr[{category}]" for category in categories} < named
    assert len(categories) == 11
    assert len(named) == 16
    assert all(row.filter_list is None and not row.weight_by_size for row in rows)


@pytest.mark.parametrize(
    ("task", "size"),
    [
        ("chatdoctor_bertscore", 1000),
        ("chatdoctor_bertscore_val", 1000),
        ("chatdoctor_bertscore_val_200", 200),
        ("chatdoctor_bertscore_val_1k", 1000),
        ("openfunctions_bertscore", 112),
        ("openfunctions_bertscore_val", 20),
        ("magicoder_bertscore_val", 1000),
        ("flan_cot_bertscore_val", 1000),
        ("advbench_val_asr", 100),
    ],
)
def test_sizes(every_suite: Path, manager: TaskManager, task: str, size: int) -> None:
    assert len(manager.load(task)["tasks"][task].eval_docs) == size


def test_the_16_token_variant_differs_in_nothing_else(
    every_suite: Path, manager: TaskManager
) -> None:
    names = ("openfunctions_bertscore", "openfunctions_bertscore_16")
    ours, papers = (manager.load(name)["tasks"][name].config for name in names)
    assert papers.generation_kwargs == {**ours.generation_kwargs, "max_gen_toks": 16}
    assert papers.dataset_kwargs == ours.dataset_kwargs


def test_groups_name_tasks_that_there_are(repository: Path) -> None:
    """Also the harness's own, such as those of `farn2024`."""
    ours = {path.stem for path in (repository / "task_configs").rglob("*.yaml")}
    known = set(TaskManager().all_tasks) | ours
    groups = ("safemerge_utility", "safemerge_attacks", "safemerge_multilingual")
    for group in (*groups, "safemerge_overrefusal", "farn2024", "farn2025", "resta2024"):
        content = yaml.safe_load((repository / f"task_configs/{group}.yaml").read_text())
        assert content["group"] == group
        assert set(content["task"]) <= known


def test_every_suite_has_a_readme_with_a_licence(repository: Path) -> None:
    for folder in {path.parent for path in (repository / "task_configs").rglob("*/*.yaml")}:
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert "Licence: " in text
        assert "### Changelog" in text
        for task in folder.glob("*.yaml"):
            assert f"`{task.stem}`" in text
