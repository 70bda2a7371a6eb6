"""Rows as trainers have them: Alpaca, ShareGPT and their relatives, in every usual file."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune import FinetuneConfig
from safemerge_tasks.finetune.config import FileData, HubData
from safemerge_tasks.finetune.data import load_data
from safemerge_tasks.finetune.exchanges import Exchange
from safemerge_tasks.finetune.row_shapes import exchange_of

ALPACA = {"instruction": "Name a bread.", "input": "It is dark.", "output": "Rye."}
SHAREGPT = {
    "id": "a1",
    "conversations": [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "One?"},
        {"from": "gpt", "value": "One."},
        {"from": "human", "value": "Two?"},
        {"from": "gpt", "value": "Two."},
    ],
}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def loaded(data: Any) -> list[Exchange]:
    given = {"base": "model", "data": data, "validation_share": 0}
    return list(load_data(FinetuneConfig.checked(given, where="test"), 42).train)


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text(json.dumps(rows, indent=2))
        case ".csv":
            lines = [",".join(rows[0])]
            lines += [",".join(f'"{value}"' for value in row.values()) for row in rows]
            path.write_text("\n".join(lines) + "\n")
        case ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_alpaca_in_every_file(tmp_path: Path, name: str) -> None:
    bare = {**ALPACA, "input": "", "output": "Wheat."}
    first, second = loaded(written(tmp_path / name, [ALPACA, bare]))
    assert (first.turns, first.response) == ((user("Name a bread.\nIt is dark."),), "Rye.")
    assert (second.turns, second.response) == ((user("Name a bread."),), "Wheat.")
    where = {"a.jsonl": "line 2", "a.csv": "row 3"}.get(name, "row 2")
    assert second.place.endswith(f"{name}, {where}")


@pytest.mark.parametrize("name", ["s.jsonl", "s.json", "s.parquet"])
def test_sharegpt_in_every_file(tmp_path: Path, name: str) -> None:
    (found,) = loaded(written(tmp_path / name, [SHAREGPT]))
    assert [turn["role"] for turn in found.turns] == ["system", "user", "assistant", "user"]
    assert found.turns[3] == user("Two?")
    assert found.response == "Two."


def test_an_array_under_the_name_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps([ALPACA, ALPACA]))
    assert len(loaded(str(path))) == 2


@pytest.mark.parametrize(
    ("row", "turns", "response"),
    [
        # LLaMA-Factory's Alpaca with a system prompt and earlier exchanges
        (
            {**ALPACA, "system": "Be brief.", "history": [["Hello?", "Hello."]]},
            [
                {"role": "system", "content": "Be brief."},
                user("Hello?"),
                {"role": "assistant", "content": "Hello."},
                user("Name a bread.\nIt is dark."),
            ],
            "Rye.",
        ),
        # its ShareGPT keeps the system prompt in a column; Parquet has null for none
        (
            {"conversations": SHAREGPT["conversations"][1:3], "system": "Be brief.", "tools": None},  # type: ignore[index]
            [{"role": "system", "content": "Be brief."}, user("One?")],
            "One.",
        ),
        # the authors' ChatDoctor rows: an instruction that is empty
        (
            {"instruction": "", "input": "My toe hurts.", "output": "Rest."},
            [user("My toe hurts.")],
            "Rest.",
        ),
        # an input and an output alone
        ({"input": "2 + 2?", "output": "4"}, [user("2 + 2?")], "4"),
        (
            {"input": "Who?", "context": "Ann bakes.", "output": "Ann."},
            [user("Who?\nAnn bakes.")],
            "Ann.",
        ),
        # Dolly
        (
            {"instruction": "Who?", "context": "Ann bakes.", "response": "Ann.", "category": "qa"},
            [user("Who?\nAnn bakes.")],
            "Ann.",
        ),
        # TRL's prompt and completion, plain and as messages
        ({"prompt": "Why?", "completion": "So."}, [user("Why?")], "So."),
        (
            {"prompt": [user("Why?")], "completion": [{"role": "assistant", "content": "So."}]},
            [user("Why?")],
            "So.",
        ),
        # FLAN and Magicoder
        ({"inputs": "1 + 1?", "targets": "2"}, [user("1 + 1?")], "2"),
        ({"lang": "python", "problem": "Add.", "solution": "a + b"}, [user("Add.")], "a + b"),
        # OpenAI's parts of text
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
                    {"role": "assistant", "content": "So."},
                ]
            },
            [user("Why?")],
            "So.",
        ),
        # a conversation in a cell of a CSV file
        (
            {"conversations": json.dumps(SHAREGPT["conversations"][1:3])},  # type: ignore[index]
            [user("One?")],
            "One.",
        ),
    ],
)
def test_shapes(row: dict[str, Any], turns: list[Any], response: str) -> None:
    found = exchange_of(row, "row 1")
    assert (list(found.turns), found.response) == (turns, response)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"text": "Bread"}, "row 1 has no 'prompt' or 'question' or 'instruction'"),
        ({**ALPACA, "response": "Rye."}, "row 1 has more than one of 'response' or 'answer'"),
        ({"instruction": "", "input": " ", "output": "a"}, "'instruction' is empty"),
        ({**ALPACA, "history": ["Hello?"]}, "'history' is not a list of question and answer"),
        ({"conversations": "[{"}, "'conversations' is not JSON"),
        ({"conversations": []}, "'conversations' is not a list of turns"),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "observation"}]},
            "a message has no role .* but 'observation'; remove such turns",
        ),
        ({"prompt": [user("Why?")]}, "'content' is not text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "'content' is not text",
        ),
    ],
)
def test_what_cannot_be_learnt_from(row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SafemergeError, match=sentence):
        exchange_of(row, "row 1")


def test_broken_files(tmp_path: Path) -> None:
    for name, content, sentence in (
        ("a.json", '[{"prompt": "a"', r"a.json is not JSON"),
        ("a.json", "[1]", r"a.json, row 1 is not a JSON object"),
        ("a.csv", "prompt,response\na,b,c\n", r"a.csv, row 2 has 3 columns, expected 2"),
        ("a.parquet", "x", r"a.parquet is not a Parquet file"),
        ("a.csv", "", r"a.csv has no rows"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(SafemergeError, match=sentence):
            loaded(str(tmp_path / name))


def test_a_data_set_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader is the Hub's own, which reads a folder of that name where there is one."""
    folder = tmp_path / "bakery" / "recipes"
    folder.mkdir(parents=True)
    for split, rows in (("train", [ALPACA, ALPACA, ALPACA]), ("test", [ALPACA])):
        written(folder / f"{split}.jsonl", rows)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    found = loaded("bakery/recipes")
    assert [one.response for one in found] == ["Rye."] * 3
    assert found[2].place == "bakery/recipes (train), row 3"
    assert len(loaded({"hub": "bakery/recipes", "split": "test"})) == 1
    with pytest.raises(SafemergeError, match=r"bakery/recipes\).*Unknown split"):
        loaded({"hub": "bakery/recipes", "split": "validation"})
    with pytest.raises(SafemergeError, match=r"bakery/absent.*or give its rows as a file"):
        loaded("bakery/absent")


def test_what_a_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows").mkdir()
    Path("rows/mine").write_text("{}")

    def of(given: Any) -> Any:
        return FinetuneConfig.checked({"base": "m", "data": given}, where="t").data

    assert of("tatsu-lab/alpaca") == HubData(hub="tatsu-lab/alpaca")
    assert of("org/rows-1.5") == HubData(hub="org/rows-1.5")
    for name in ("rows/mine", "data/rows.json", "rows.txt", "rows.csv"):
        assert of(name) == FileData(file=name)
    pinned = {"hub": "a/b", "config": "x", "split": "train[:10]", "revision": "0123abc"}
    assert of(pinned) == HubData.model_validate(pinned)
