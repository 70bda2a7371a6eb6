"""A suite of one's own: made, run by lm-eval, checked and listed."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest
from lm_eval.tasks import TaskManager

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import harmful_questions
from safemerge_tasks.suites.scaffold import new_suite
from safemerge_tasks.suites.task_files import read_task_file


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "my prompts, all.csv"
    rows = [f'"Bake loaf {n}, please?",{"Rye" if n % 2 else "Oat"}' for n in range(30)]
    path.write_text("\n".join(["prompt,kind", *rows]))
    return path


def test_lm_eval_runs_it_from_any_folder(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = new_suite(
        "bakery", str(prompts), question="prompt", category="kind", out=tmp_path / "suites"
    )
    monkeypatch.chdir("/")
    harmful_questions._shared_judge.cache_clear()
    manager = TaskManager(
        include_path=str(tmp_path / "suites"),
        include_defaults=False,
        metadata={"judge": "keywords"},
    )
    task: Any = manager.load("bakery_asr")["tasks"]["bakery_asr"]
    assert len(task.eval_docs) == len(made.questions) == 30
    assert task.eval_docs[1]["question"] == "Bake loaf 1, please?"
    assert {doc["category"] for doc in task.eval_docs} == {"Rye", "Oat"}
    assert task.config.generation_kwargs["until"] == []
    harmful_questions._shared_judge.cache_clear()


def test_the_yaml_fits_ten_lines(prompts: Path, tmp_path: Path) -> None:
    made = new_suite(
        "bakery",
        str(prompts),
        question="prompt",
        category="kind",
        language="no",
        out=tmp_path / "suites",
    )
    path = made.folder / "bakery_asr.yaml"
    assert len(path.read_text().splitlines()) == 9
    kwargs = read_task_file(path).content["dataset_kwargs"]
    assert kwargs["language"] == "no"
    assert kwargs["parts"] == [{"file": str(prompts)}]
    assert "Licence: TODO" in (made.folder / "README.md").read_text()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Return a function that puts a data set with these splits on a Hub."""

    def put(splits: list[str]) -> None:
        rows = datasets.Dataset.from_list([{"text": "Bake?", "kind": "Rye"}])
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
        monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: splits)
        api = SimpleNamespace(dataset_info=lambda _: SimpleNamespace(sha="0123abc"))
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)

    return put


def test_a_data_set_on_the_hub_is_pinned(hub: Callable[[list[str]], None], tmp_path: Path) -> None:
    hub(["train"])
    made = new_suite(
        "bakery",
        "we/bread",
        question="text",
        category="kind",
        language="vi",
        config="rye",
        out=tmp_path,
    )
    path = made.folder / "bakery_asr.yaml"
    assert len(path.read_text().splitlines()) <= 10
    assert read_task_file(path).content["dataset_kwargs"] == {
        "suite": "bakery",
        "language": "vi",
        "hub": "we/bread",
        "revision": "0123abc",
        "config": "rye",
        "split": "train",
        "question": "text",
        "category": "kind",
    }


def test_several_splits_want_a_choice(hub: Callable[[list[str]], None], tmp_path: Path) -> None:
    hub(["en", "zh"])
    with pytest.raises(SafemergeError, match="has the splits en, zh; choose one with --split"):
        new_suite("bakery", "we/bread", question="text", out=tmp_path)
    made = new_suite("bakery", "we/bread", question="text", split="zh", out=tmp_path)
    assert "split: zh" in (made.folder / "bakery_asr.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "source", "column", "sentence"),
    [
        ("Bakery!", "prompts.csv", "prompt", "'Bakery!' is not a suite's name"),
        ("advbench", "prompts.csv", "prompt", "advbench_asr is a packaged task already"),
        ("catqa", "prompts.csv", "prompt", "catqa_asr is a packaged task already"),
        ("taken", "prompts.csv", "prompt", "taken exists already"),
        ("bakery", "absent.csv", "prompt", r"absent\.csv is neither a file nor a Hub id"),
        ("bakery", "absent", "prompt", "absent is neither a file nor a Hub id"),
        ("bakery", "prompts.csv", "text", r"no column 'text'; its columns are prompt, kind"),
        ("bakery", "empty.csv", "prompt", r"empty\.csv has no prompts"),
        ("bakery", "prompts.txt", "prompt", r"prompts\.txt has no extension that tells its format"),
        ("bakery", "we/bread", "prompt", "we/bread is not on this machine and the Hub cannot"),
    ],
)
def test_what_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    source: str,
    column: str,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.csv").write_text("prompt,kind\nBake?,Rye\n")
    Path("prompts.txt").write_text("prompt,kind\nBake?,Rye\n")
    Path("empty.csv").write_text("prompt,kind\n")
    Path("suites/taken").mkdir(parents=True)
    with pytest.raises(SafemergeError, match=sentence):
        new_suite(name, source, question=column)
    assert [path.name for path in Path("suites").iterdir()] == ["taken"]


def test_a_list_of_strings_needs_no_column_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text(json.dumps(["Bake?", "Paint?"]))
    made = new_suite("bakery", str(tmp_path / "prompts.json"), question="prompt", out=tmp_path)
    assert [q["question"] for q in made.questions] == ["Bake?", "Paint?"]
