import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.suites import Question, SuiteSpec, load_suite

SpecOf = Callable[[str], SuiteSpec]

ROWS = [{"q": f"Recipe {n}?", "kind": f"Kind {n % 3}"} for n in range(30)]


def sampled(folder: Path, rows: list[dict[str, str]], **sample: Any) -> list[Question]:
    (folder / "own.json").write_text(json.dumps(rows))
    given = {
        "suite": "own",
        "parts": [{"file": str(folder / "own.json")}],
        "question": "q",
        "category": "kind",
        "sample": sample,
    }
    return load_suite(SuiteSpec.checked(given, where="own"))


def test_the_draw_is_fixed_for_all_time(tmp_path: Path) -> None:
    """Other questions under the same seed would make results incomparable: bump the versions."""
    drawn = sampled(tmp_path, ROWS, count=4, seed=1)
    assert [q["question"] for q in drawn] == ["Recipe 2?", "Recipe 18?", "Recipe 20?", "Recipe 27?"]


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    shuffled = random.Random(5).sample(ROWS, len(ROWS))
    first = sampled(tmp_path, ROWS, count=2, per=["category"], seed=1)
    second = sampled(tmp_path, shuffled, count=2, per=["category"], seed=1)
    assert sorted(q["id"] for q in first) == sorted(q["id"] for q in second)
    assert Counter(q["category"] for q in first) == {"Kind 0": 2, "Kind 1": 2, "Kind 2": 2}


def test_a_sample_stays_in_the_order_of_the_source(tmp_path: Path) -> None:
    numbers = [int(q["question"][7:-1]) for q in sampled(tmp_path, ROWS, count=9, seed=1)]
    assert numbers == sorted(numbers)


def test_another_seed_draws_others(tmp_path: Path) -> None:
    first = sampled(tmp_path, ROWS, count=9, seed=1)
    second = sampled(tmp_path, ROWS, count=9, seed=2)
    assert {q["id"] for q in first} != {q["id"] for q in second}


def test_too_few_questions(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="own has 30 questions, fewer than the 31"):
        sampled(tmp_path, ROWS, count=31, seed=1)
    with pytest.raises(SafemergeError, match="own has 10 questions in Kind 0, fewer than the 11"):
        sampled(tmp_path, ROWS, count=11, per=["category"], seed=1)
    with pytest.raises(SafemergeError, match="the sample has 3 questions, expected 4"):
        sampled(tmp_path, ROWS, count=1, per=["category"], seed=1, total=4)


def test_an_even_draw_has_as_many_of_each_group(tmp_path: Path) -> None:
    rows = [*ROWS, *({"q": f"More {n}?", "kind": "Kind 1"} for n in range(100))]
    drawn = sampled(tmp_path, rows, count=20, per=["category"], evenly=True, seed=1)
    assert Counter(q["category"] for q in drawn) == {"Kind 0": 7, "Kind 1": 7, "Kind 2": 6}
    with pytest.raises(SafemergeError, match="10 questions in Kind 0, fewer than the 11"):
        sampled(tmp_path, rows, count=33, per=["category"], evenly=True, seed=1)


def test_magicoder_is_drawn_evenly_over_languages(every_suite: Path, spec_of: SpecOf) -> None:
    whole = spec_of("magicoder_bertscore_val").model_copy(update={"hold_out": None})
    languages = Counter(q["category"] for q in load_suite(whole))
    assert languages == {"java": 3334, "python": 3333, "rust": 3333}


@pytest.mark.parametrize(
    ("whole", "part", "size"),
    [
        ("harmfulqa_asr", "harmfulqa_196_asr", 196),
        ("adversarialqa_asr", "adversarialqa_200_asr", 200),
    ],
)
def test_the_papers_subsets(
    every_suite: Path, spec_of: SpecOf, whole: str, part: str, size: int
) -> None:
    drawn = load_suite(spec_of(part))
    assert len(drawn) == size
    assert {q["id"] for q in drawn} < {q["id"] for q in load_suite(spec_of(whole))}
    groups = Counter((q["category"], q["subcategory"]) for q in drawn)
    assert set(groups.values()) == ({2} if part == "harmfulqa_196_asr" else {200})
