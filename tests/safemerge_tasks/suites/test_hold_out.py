"""Validation data: fixed, disjoint from the rest, the same in every copy of a set."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites import Question, SuiteSpec, load_suite

ROWS = [{"q": f"Recipe {n}?", "a": f"Answer {n}"} for n in range(30)]


def spec(folder: Path, rows: list[dict[str, Any]] = ROWS, **more: Any) -> SuiteSpec:
    (folder / "own.json").write_text(json.dumps(rows))
    given = {"suite": "own", "parts": [{"file": str(folder / "own.json")}], "question": "q"}
    return SuiteSpec.checked({**given, **more}, where="own")


def divided(folder: Path, rows: list[dict[str, Any]] = ROWS, **hold_out: Any) -> list[Question]:
    return load_suite(spec(folder, rows, hold_out=hold_out))


def test_the_division_is_fixed_for_all_time(tmp_path: Path) -> None:
    """Another division under the same seed would leak validation questions: bump the versions."""
    held = divided(tmp_path, count=3, seed=1, keep="held_out")
    assert [q["question"] for q in held] == ["Recipe 16?", "Recipe 17?", "Recipe 19?"]


def test_both_parts_make_the_whole(tmp_path: Path) -> None:
    held = divided(tmp_path, share=0.1, seed=42, keep="held_out")
    rest = divided(tmp_path, share=0.1, seed=42, keep="rest")
    everything = divided(tmp_path, share=0.1, seed=42, keep="all")
    assert (len(held), len(rest), len(everything)) == (3, 27, 30)
    assert {q["id"] for q in held} | {q["id"] for q in rest} == {q["id"] for q in everything}


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    shuffled = random.Random(5).sample(ROWS, len(ROWS))
    first = divided(tmp_path, count=9, seed=1, keep="held_out")
    second = divided(tmp_path, shuffled, count=9, seed=1, keep="held_out")
    assert {q["id"] for q in first} == {q["id"] for q in second}


def test_a_sample_is_drawn_first(tmp_path: Path) -> None:
    sample = {"count": 20, "seed": 7}
    drawn = {q["id"] for q in load_suite(spec(tmp_path, sample=sample))}
    held = {"share": 0.1, "seed": 42, "keep": "held_out"}
    part = {q["id"] for q in load_suite(spec(tmp_path, sample=sample, hold_out=held))}
    assert len(part) == 2
    assert part < drawn


def test_too_few_questions(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="own has 30 questions, too few to hold 30 of them"):
        divided(tmp_path, count=30, seed=1, keep="held_out")


@pytest.mark.parametrize("size", [{}, {"share": 0.1, "count": 3}])
def test_one_size_is_given(tmp_path: Path, size: dict[str, Any]) -> None:
    with pytest.raises(SafemergeError, match="either `share` or `count`"):
        divided(tmp_path, seed=1, keep="rest", **size)


def test_metadata_leaves_validation_questions_out(
    every_suite: Path, spec_of: Callable[[str], SuiteSpec]
) -> None:
    test, held = spec_of("advbench_asr"), spec_of("advbench_val_asr")
    rest = {"split": "test_rest"}
    whole = {q["id"] for q in load_suite(test.divided_as({}))}
    left = {q["id"] for q in load_suite(test.divided_as(rest))}
    out = {q["id"] for q in load_suite(held.divided_as(rest))}
    assert (len(whole), len(left), len(out)) == (520, 420, 100)
    assert left | out == whole
    assert not left & out
    other = spec_of("dangerousqa_asr")
    assert other.divided_as(rest) == other


def test_a_seed_divides_training_sources_only(
    every_suite: Path, spec_of: Callable[[str], SuiteSpec]
) -> None:
    fixed, training = spec_of("advbench_val_asr"), spec_of("chatdoctor_bertscore_val")
    assert fixed.divided_as({"split_seed": 1024}) == fixed
    first, second = (load_suite(training.divided_as({"split_seed": n})) for n in (42, 1024))
    assert len(first) == len(second) == 1000
    assert {q["id"] for q in first} != {q["id"] for q in second}


@pytest.mark.parametrize("metadata", [{"split": "rest"}, {"split_seed": "x"}, {"split_seed": True}])
def test_impossible_metadata(tmp_path: Path, metadata: dict[str, Any]) -> None:
    with pytest.raises(SafemergeError, match="give all or test_rest|is not a whole number"):
        spec(tmp_path).divided_as(metadata)


def test_fields_come_from_the_first_column_there_is(tmp_path: Path) -> None:
    found = load_suite(spec(tmp_path, fields={"reference": ["b", "a"]}))
    assert found[3]["reference"] == "Answer 3"


def test_fields_that_are_no_text(tmp_path: Path) -> None:
    rows = [{"q": "Which?", "a": [" x", "y"], "f": {"name": "ü"}}]
    (found,) = load_suite(spec(tmp_path, rows, fields={"reference": ["a"], "function": ["f"]}))
    assert found["reference"] == "x\ny"
    assert found["function"] == '{"name": "ü"}'


def test_missing_fields(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="has no column 'b' or 'c'; its columns are q, a"):
        load_suite(spec(tmp_path, fields={"reference": ["b", "c"]}))
    rows = [*ROWS, {"q": "Why?", "a": " "}, {"q": "Who?"}, {"q": "", "a": "x"}]
    with pytest.raises(SafemergeError, match="row 33: the question is empty"):
        load_suite(spec(tmp_path, rows, fields={"reference": ["a"]}))
    with pytest.raises(SafemergeError, match="rows 31, 32: the reference is empty"):
        load_suite(spec(tmp_path, rows[:-1], fields={"reference": ["a"]}))
    kept = load_suite(spec(tmp_path, rows, fields={"reference": ["a"]}, skip_empty=True))
    assert len(kept) == 30
    with pytest.raises(SafemergeError, match="`fields` cannot be called id"):
        spec(tmp_path, fields={"id": ["a"]})


def test_other_names_in_the_data_folder(data: Path, spec_of: Callable[[str], SuiteSpec]) -> None:
    rows = [{"instruction": "", "input": f"Ache {n}?", "output": f"Rest {n}."} for n in range(1000)]
    (data / "chatdoctor5k_first1000.json").write_text(json.dumps(rows))
    found = load_suite(spec_of("chatdoctor_bertscore"))
    assert len(found) == 1000
    assert found[7]["reference"] == "Rest 7."


PUBLISHED = [{"ask": f"Recipe {n % 20}?", "say": f"Answer {n % 20}"} for n in range(30)]


def authors(folder: Path, keep: str, seed: int = 42, name: str = "train.json") -> list[Question]:
    """Divide a set of which authors published their division with seed 42."""
    (folder / name).write_text(json.dumps(PUBLISHED))
    given = {
        "suite": "own",
        "parts": [{"file": "train.json", "also": ["whole.json"]}],
        "question": "ask",
        "fields": {"reference": ["say"]},
        "duplicates": True,
        "hold_out": {"share": 0.1, "seed": seed, "keep": keep, "drawn": {42: "val-42.json"}},
    }
    return load_suite(SuiteSpec.checked(given, where="own"))


def asked(questions: list[Question]) -> list[str]:
    return [one["question"] for one in questions]


def test_the_authors_own_division_is_taken_row_by_row(data: Path) -> None:
    """Of equal rows as many are held out as they held out."""
    (data / "val-42.json").write_text(json.dumps([PUBLISHED[25], PUBLISHED[11], PUBLISHED[5]]))
    assert asked(authors(data, "held_out")) == ["Recipe 5?", "Recipe 11?", "Recipe 5?"]
    rest = asked(authors(data, "rest"))
    assert len(rest) == 27
    assert "Recipe 5?" not in rest
    assert rest.count("Recipe 6?") == 2


def test_other_seeds_and_other_files_are_divided_by_the_share(data: Path) -> None:
    (data / "val-42.json").write_text(json.dumps(PUBLISHED[:5]))
    assert len(authors(data, "held_out", seed=7)) == 3
    (data / "train.json").unlink()
    assert len(authors(data, "held_out", name="whole.json")) == 3


def test_a_division_of_another_set_is_refused(data: Path) -> None:
    (data / "val-42.json").write_text(json.dumps([{"ask": "Recipe 3?", "say": "No."}]))
    with pytest.raises(SafemergeError, match=r"val-42.json has a row that train.json has not"):
        authors(data, "rest")
    (data / "val-42.json").unlink()
    with pytest.raises(SafemergeError, match=r"put val-42.json below a folder"):
        authors(data, "rest")
