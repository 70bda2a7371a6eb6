"""Every suite of the package, loaded by lm-eval itself from data in its real shape."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from safemerge_tasks import harness
from safemerge_tasks.metrics.asr import slug

TASKS = sorted(
    path.stem
    for path in (Path(__file__).parents[3] / "task_configs").rglob("*.yaml")
    if "_harmful_questions" in path.read_text(encoding="utf-8")
)


@pytest.fixture
def manager(repository: Path) -> Iterator[TaskManager]:
    """Return lm-eval's manager on the source checkout, with a judge that needs no weights."""
    harness._shared_judge.cache_clear()
    yield TaskManager(
        include_path=str(repository / "task_configs"),
        include_defaults=False,
        metadata={"judge": "keywords"},
    )
    harness._shared_judge.cache_clear()


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
    prompts = [instance.args[0] for instance in loaded.instances]
    assert prompts == [f"You are a helpful assistant.|{question}" for question in questions]
    assert {tuple(instance.args[1]["until"]) for instance in loaded.instances} == {()}
    assert len({doc["id"] for doc in loaded.eval_docs}) == len(questions)
    assert loaded.VERSION == 1.0


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
    assert {f"asr_{slug(category)}" for category in categories} < named
    assert len(categories) == 11
    assert len(named) == 15
    assert all(row.filter_list is None and not row.weight_by_size for row in rows)


def test_every_suite_has_a_readme_with_a_licence(repository: Path) -> None:
    for folder in {path.parent for path in (repository / "task_configs").rglob("*/*.yaml")}:
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert "Licence: " in text
        assert "### Changelog" in text
        for task in folder.glob("*.yaml"):
            assert f"`{task.stem}`" in text
