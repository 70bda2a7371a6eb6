"""The rows that our tasks leave: never the task's own, and prompted to the letter as it is."""

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune import FinetuneConfig
from safemerge_tasks.finetune.data import load_data
from safemerge_tasks.finetune.exchanges import TuningData
from safemerge_tasks.finetune.rendering import Renderer
from safemerge_tasks.harness import harmful_questions
from safemerge_tasks.suites.places import packaged_folder
from tests.question_sets import write_every_suite


@pytest.fixture(scope="module")
def every_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data of every packaged suite, as the tests of suites make it."""
    folder = tmp_path_factory.mktemp("data")
    write_every_suite(folder)
    return folder


@pytest.fixture(autouse=True)
def _data(every_suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(every_suite))


def rows(name: str, seed: int = 42, **keys: Any) -> TuningData:
    given = {"base": "model", "data": name, **keys}
    return load_data(FinetuneConfig.checked(given, where="test"), seed)


@functools.cache
def task(name: str, encoder: Path, split_seed: int | None = None) -> Any:
    metadata = {"bertscore_model": str(encoder), "bertscore_layer": 6}
    if split_seed is not None:
        metadata["split_seed"] = split_seed
    harmful_questions._shared_judge.cache_clear()
    manager = TaskManager(
        include_path=str(packaged_folder()), include_defaults=False, metadata=metadata
    )
    return manager.load(name)["tasks"][name]


SIZES = {
    "chatdoctor": (9000, 1000),
    "openfunctions": (180, 20),
    "magicoder": (9000, 1000),
    "flan_cot": (9000, 1000),
}


@pytest.mark.parametrize("name", SIZES)
def test_no_row_is_the_tasks_own(name: str, minilm: Path) -> None:
    found, loaded = rows(name), task(f"{name}_bertscore_val", minilm)
    assert (len(found.train), len(found.validation)) == SIZES[name]
    documents = loaded.eval_docs
    assert [one.place for one in found.validation] == [doc["id"] for doc in documents]
    assert [one.response for one in found.validation] == [doc["reference"] for doc in documents]
    assert not {one.place for one in found.train} & {doc["id"] for doc in documents}
    assert not {one.question for one in found.train} & {one.question for one in found.validation}


@pytest.mark.parametrize("name", SIZES)
def test_prompts_are_those_that_lm_eval_sends(name: str, minilm: Path, tokenizer: Any) -> None:
    found, loaded = rows(name), task(f"{name}_bertscore_val", minilm)

    def template(turns: list[dict[str, str]], **_: Any) -> str:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return text

    # Tools are trained with another system prompt than they are tested with.
    trained = "You are a helpful assistant." if name != "chatdoctor" else found.system_prompt
    assert found.system_prompt == trained
    tested = loaded.config.description
    renderer = Renderer(tokenizer, "model", [], tested, "task", found.folded)
    for exchange, doc in zip(found.validation[:20], loaded.eval_docs, strict=False):
        sent = loaded.fewshot_context(doc, apply_chat_template=True, chat_template=template)
        encoded = renderer.encode(exchange)
        assert tokenizer.decode(encoded.ids[: encoded.start]) == str(sent)


def test_the_split_by_seed_is_that_of_the_task(minilm: Path) -> None:
    name = "chatdoctor_bertscore_val"
    found = rows("chatdoctor", 1024, split_seed="by-seed")
    expected = [doc["id"] for doc in task(name, minilm, 1024).eval_docs]
    assert [one.place for one in found.validation] == expected
    assert expected != [one.place for one in rows("chatdoctor", 1024).validation]


def test_magicoder_has_as_many_rows_of_each_language(every_suite: Path) -> None:
    found = rows("magicoder")
    told = [one.response for one in (*found.train, *found.validation)]
    assert len(told) == 10_000
    # In the stand-in a row's number tells its language: python, java, python, rust.
    numbers = [int(text.removeprefix("print(").removesuffix(")")) % 4 for text in told]
    languages = Counter("python" if n in (0, 2) else n for n in numbers)
    assert sorted(languages.values()) == [3333, 3333, 3334]


def test_tasks_that_leave_nothing_to_train_on() -> None:
    with pytest.raises(SafemergeError, match="'chatdoctor_bertscore' holds out no share"):
        rows({"task": "chatdoctor_bertscore"})  # type: ignore[arg-type]
    with pytest.raises(SafemergeError, match="'chatdoc' is no task of ours"):
        rows({"task": "chatdoc"})  # type: ignore[arg-type]


def test_a_suite_of_ones_own(tmp_path: Path, write_csv: Callable[[str, str], Path]) -> None:
    lines = "\n".join(f"Q {n}?,A {n}" for n in range(20))
    write_csv("suites/mine/mine.csv", f"q,a\n{lines}\n")
    (tmp_path / "suites/mine/mine_val.yaml").write_text(
        "task: mine_val\n"
        "class: !function safemerge_tasks.harness.ReferenceAnswers\n"
        "dataset_kwargs: {suite: mine, parts: [{file: mine.csv}], question: q,\n"
        "  fields: {reference: [a]}, hold_out: {share: 0.2, seed: 42, keep: held_out}}\n"
    )
    found = rows({"task": "mine_val", "include_path": str(tmp_path / "suites")})  # type: ignore[arg-type]
    assert (len(found.train), len(found.validation)) == (16, 4)
