"""One's own rows: two forms, a fixed split, and errors that name file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune import FinetuneConfig, identity
from safemerge_tasks.finetune.data import load_data
from safemerge_tasks.finetune.exchanges import TuningData

ROWS = [{"question": f"Recipe {n}?", "answer": f"Bake {n}."} for n in range(30)]


def loaded(folder: Path, rows: list[Any], seed: int = 42, **keys: Any) -> TuningData:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    given = {"base": "model", "data": str(path), **keys}
    return load_data(FinetuneConfig.checked(given, where="test"), seed)


def questions(data: TuningData) -> tuple[set[str], set[str]]:
    return {one.question for one in data.train}, {one.question for one in data.validation}


def test_a_tenth_is_held_out_the_same_for_all_seeds(tmp_path: Path) -> None:
    first, second = (loaded(tmp_path, ROWS, seed) for seed in (42, 1024))
    assert (len(first.train), len(first.validation)) == (27, 3)
    train, validation = questions(first)
    assert not train & validation
    assert questions(second) == (train, validation)


def test_the_split_by_seed(tmp_path: Path) -> None:
    first, second = (loaded(tmp_path, ROWS, s, split_seed="by-seed") for s in (42, 1024))
    assert questions(first)[1] != questions(second)[1]
    assert questions(first) == questions(loaded(tmp_path, ROWS, 1024, split_seed=42))


def test_everything_can_be_trained_on(tmp_path: Path) -> None:
    found = loaded(tmp_path, ROWS, validation_share=0)
    assert (len(found.train), len(found.validation)) == (30, 0)


def test_a_question_that_is_validated_with_is_not_trained_on(tmp_path: Path) -> None:
    found = loaded(tmp_path, ROWS * 3, validation_share=0.05)
    train, validation = questions(found)
    assert not train & validation
    assert found.left_out == len(validation) * 3 - len(found.validation) > 0


def test_messages_keep_their_turns_and_their_system_prompt(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "Two."},
    ]
    (found,) = loaded(tmp_path, [{"messages": turns}], validation_share=0).train
    assert list(found.turns) == turns[:-1]
    assert found.response == "Two."


def test_prompt_and_response_or_question_and_answer(tmp_path: Path) -> None:
    rows = [{"prompt": "A", "response": "B", "n": 1}, "", {"question": "A", "answer": "B"}]
    first, second = loaded(tmp_path, rows, validation_share=0).train
    assert (first.turns, first.response) == (second.turns, second.response)
    assert second.place.endswith("rows.jsonl, line 3")


USER, ANSWER = {"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{", r"line 31 is not JSON .*; put one object on a line"),
        ("[1]", r"line 31 is not a JSON object"),
        ({"answer": "x"}, r"line 31 has no 'prompt' or 'question' or .*; its keys are answer"),
        (
            {"prompt": "a", "question": "b"},
            r"line 31 has more than one of 'prompt' or 'question' or ",
        ),
        ({"prompt": "a"}, r"line 31 has no 'response' or 'answer'"),
        ({"prompt": "a", "answer": " "}, r"line 31: 'answer' is empty; fill it or remove the line"),
        ({"prompt": 1, "answer": "a"}, r"line 31: 'prompt' is not text"),
        ({"messages": "hi"}, r"line 31: 'messages' is not a list of turns"),
        ({"messages": [{"content": "a"}]}, r"line 31: a message has no role system, user or"),
        ({"messages": [USER]}, r"line 31: the last message is not the assistant's"),
        ({"messages": [ANSWER]}, r"line 31: .* must take turns"),
        ({"messages": [USER, USER, ANSWER]}, r"line 31: .* must take turns"),
        ({"messages": [USER, {**ANSWER, "content": None}]}, r"line 31: 'content' is not text"),
    ],
)
def test_wrong_rows(tmp_path: Path, row: Any, sentence: str) -> None:
    with pytest.raises(SafemergeError, match=rf"rows.jsonl, {sentence}"):
        loaded(tmp_path, [*ROWS, row])


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="has 2 rows, too few .*`validation_share: 0`"):
        loaded(tmp_path, ROWS[:2])
    with pytest.raises(SafemergeError, match="has no rows"):
        loaded(tmp_path, [])


def test_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"base": "model", "data": "below.jsonl"}
    config = FinetuneConfig.checked(given, where="test")
    with pytest.raises(SafemergeError, match=r"^below.jsonl does not exist; .*SAFEMERGE_DATA_DIR"):
        load_data(config, 42)
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path))
    with pytest.raises(SafemergeError, match=r"does not exist \(nor .*below.jsonl\)"):
        load_data(config, 42)
    (tmp_path / "below.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    assert len(load_data(config, 42).train) == 27


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(SafemergeError, match=r"rows.jsonl is not UTF-8 text \(byte 12\)"):
        load_data(FinetuneConfig.checked({"base": "m", "data": str(path)}, where="t"), 42)


def test_the_identity_follows_content_and_settings_not_places(tmp_path: Path) -> None:
    def known(name: str, answer: str = "B", **keys: Any) -> dict[str, Any]:
        path = tmp_path / name
        path.write_text("".join(json.dumps({**one, "answer": answer}) + "\n" for one in ROWS))
        given = {"base": "model", "data": str(path), **keys}
        return identity(FinetuneConfig.checked(given, where="test"), 42)

    first = known("a.jsonl")
    assert known("b.jsonl", base="other", seeds=[42, 7], save_every=7) == first
    assert known("a.jsonl", preset="resta2024") == first
    for keys in ({"epochs": 4}, {"system_prompt": "x"}, {"split_seed": 7}, {"lora": {"rank": 4}}):
        assert known("a.jsonl", **keys) != first
    assert known("a.jsonl", answer="C") != first
    json.dumps(first)
