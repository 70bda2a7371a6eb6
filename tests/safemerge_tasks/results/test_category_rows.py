"""What the ASR of a category is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safemerge_tasks.metrics.asr import HIGHER_IS_BETTER
from safemerge_tasks.results.category_rows import (
    category_of,
    category_rows,
    is_category_row,
    is_old_row,
    is_subcategory_row,
    old_name,
    same_row,
    slug,
)
from safemerge_tasks.results.labels import LABEL_LIMIT

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=LABEL_LIMIT // 2)


def row(category: str, subcategory: str = "") -> str:
    return category_rows({"category": category, "subcategory": subcategory})[-1]


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (("Food & Drink", "Food / Drink"), ("asr[Food & Drink]", "asr[Food / Drink]")),
        (("C", "C++", "C#"), ("asr[C]", "asr[C++]", "asr[C#]")),
        (("corrected", "stderr"), ("asr[corrected]", "asr[stderr]")),
        (("\U0001f35e", "\U0001f950"), ("asr[\U0001f35e]", "asr[\U0001f950]")),
        (("\u98df\u7269", "Ötzi"), ("asr[\u98df\u7269]", "asr[Ötzi]")),
        (
            ("a, b", "a][b", "50 %", "a|b"),
            ("asr[a%2C b]", "asr[a%5D%5Bb]", "asr[50 %25]", "asr[a%7Cb]"),
        ),
    ],
)
def test_names_keep_their_signs(names: tuple[str, ...], rows: tuple[str, ...]) -> None:
    assert tuple(map(row, names)) == rows
    assert tuple(map(category_of, rows)) == names


def test_a_part_has_brackets_of_its_own() -> None:
    rows = category_rows({"category": "Fraud", "subcategory": "False coins"})
    assert rows == ["asr[Fraud]", "asr[Fraud][False coins]"]
    assert [is_subcategory_row(one) for one in rows] == [False, True]
    assert category_rows({"category": "", "subcategory": "lost"}) == []
    assert category_rows({}) == []


def test_two_spellings_of_the_same_characters_are_one() -> None:
    assert row("Cafe\u0301") == row("Caf\u00e9")
    assert row(" Food  &\u00a0Drink\n") == row("Food & Drink")


@given(NAMES, NAMES)
def test_no_two_names_share_a_row(one: str, other: str) -> None:
    def plain(text: str) -> list[str | None]:
        return [category_of(found) for found in category_rows({"category": text})]

    same = category_rows({"category": one}) == category_rows({"category": other})
    assert same == (plain(one) == plain(other))


@given(NAMES.filter(str.strip))
def test_a_row_survives_as_a_key_of_lm_evals(name: str) -> None:
    found = row(name, name)
    assert f"{found},judge".partition(",") == (found, ",", "judge")
    assert not found.endswith("_stderr")
    assert len(found.splitlines()) == 1
    assert is_category_row(found)
    assert not is_old_row(found)


def test_a_name_that_is_a_text_is_cut_and_stays_its_own() -> None:
    long = "bread " * 100
    assert row(f"{long}one") != row(f"{long}two")
    assert len(row(f"{long}one")) < LABEL_LIMIT + 10


@pytest.mark.parametrize(
    ("metric", "category", "part"),
    [
        ("asr_hate_harass_violence", "hate_harass_violence", False),
        ("asr_fraud__false_coins", None, True),
        ("asr_corrected", None, False),
        ("asr", None, False),
        ("compliance_rate", None, False),
    ],
)
def test_older_results_are_read(metric: str, category: str | None, part: bool) -> None:
    assert category_of(metric) == category
    assert is_subcategory_row(metric) is part
    assert is_category_row(metric) is (part or category is not None)


def test_no_metric_of_ours_is_taken_for_a_category() -> None:
    assert not any(map(is_category_row, HIGHER_IS_BETTER))


def test_the_same_row_in_either_spelling() -> None:
    assert old_name("asr[Hate/Harass/Violence]") == "asr_hate_harass_violence"
    assert old_name("asr[Fraud][False coins]") == "asr_fraud__false_coins"
    assert same_row("asr_malware", ["asr", "asr[Malware]"]) == "asr[Malware]"
    assert same_row("asr[Malware]", ["asr", "asr_malware"]) == "asr_malware"
    assert same_row("asr[C]", ["asr[C]", "asr_c"]) == "asr[C]"
    assert same_row("asr_c", ["asr[C]", "asr[C++]"]) is None
    assert same_row("asr[C]", ["asr[C++]"]) is None
    assert same_row("bleu", ["asr[C]"]) is None


def test_slugs() -> None:
    assert slug("Hate/Harass/Violence") == "hate_harass_violence"
    assert slug("  Malware: ") == "malware"
