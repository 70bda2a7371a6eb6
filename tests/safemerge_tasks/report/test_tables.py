"""What the report's tables say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.document import Name, Section
from safemerge_tasks.report.figures.rates import draw_rates
from safemerge_tasks.report.provenance import plain
from safemerge_tasks.report.reading import Evaluated, read_models
from safemerge_tasks.report.sections.agreement import agreement
from safemerge_tasks.report.sections.answers import answers
from safemerge_tasks.report.sections.attack_success import attack_success
from safemerge_tasks.report.sections.groups import categories, languages
from safemerge_tasks.report.sections.over_refusal import over_refusal
from safemerge_tasks.report.sections.provenance import provenance
from safemerge_tasks.report.sections.unscored import unscored
from safemerge_tasks.report.sections.utility import utility
from safemerge_tasks.report.tradeoff import tradeoffs

from .conftest import sample


def read(*folders: Path) -> Evaluated:
    return Evaluated(read_models(folders))


def text(section: Section, table: int = 0) -> list[list[str]]:
    found = section.tables[table]
    return [
        [one.text if isinstance(one, Name) else one for one in row]
        for row in (found.head, *found.rows)
    ]


def test_judges_stand_beside_each_other(write: Callable[..., Any], tmp_path: Path) -> None:
    rows = [sample(n, float(n < 2)) for n in range(10)]
    rows += [sample(n, float(n < 5), judge="llama-guard-3") for n in range(10)]
    write("one", rows=rows)
    head, row = text(attack_success(read(tmp_path / "one")))
    assert head == ["task", "model", "llama-guard-3", "wildguard"]
    assert row[:2] == ["toy_asr", "one"]
    assert row[2].startswith("50.0% (")
    assert row[3].startswith("20.0% (")


def test_models_of_several_folders_and_of_one(write: Callable[..., Any], tmp_path: Path) -> None:
    write("all/a", [1.0, 0.0], model="/models/a")
    write("all/b", [1.0, 1.0], model="/models/b")
    write("c", [0.0, 0.0], model="/elsewhere/a")
    labels = [model.label for model in read_models([tmp_path / "all", tmp_path / "c"])]
    assert labels == ["models/a", "models/b", "elsewhere/a"]
    assert [model.label for model in read_models([tmp_path / "all"])] == ["a", "b"]


def test_latest_result_of_a_task_counts(write: Callable[..., Any], tmp_path: Path) -> None:
    write("one", [1.0] * 4)
    write("one", [0.0] * 4, date="2026-01-02T00-00-00.000001")
    assert text(attack_success(read(tmp_path / "one")))[1][2].startswith("0.0%")


def test_unscored_with_bounds(write: Callable[..., Any], tmp_path: Path) -> None:
    write("one", [1.0, 0.0, 0.0, None])
    row = text(unscored(read(tmp_path / "one")))[1]
    assert row[3:] == ["1 of 4 (25.0%)", "25.0% to 50.0%", "⚠ more than 5 %"]


def test_answers_that_are_no_text_are_shown_beside_empty_and_cut_ones(
    write: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [sample(n, 0.0) for n in range(8)]
    for n, row in enumerate(rows):
        row["metrics"] += ["incoherent_rate", "truncated_rate"]
        row |= {"incoherent_rate": float(n < 2), "truncated_rate": float(n < 1)}
    write("one", rows=rows)
    write("clean", [0.0] * 8)
    head, row, *others = text(answers(read(tmp_path / "one", tmp_path / "clean")))
    assert head[2:] == ["empty answers", "cut at the token limit", "incoherent"]
    assert row[1:] == ["one", "0 of 8 (0.0%)", "12.5%", "25.0%"]
    assert others == []


def test_categories_and_languages(write: Callable[..., Any], tmp_path: Path) -> None:
    write("one", [1.0, 0.0] * 4)
    models = read(tmp_path / "one")
    rows = text(categories(models))
    assert [row[0] for row in rows] == ["category", "baking", "gardening"]
    assert rows[1][1].endswith("4 of 4")
    assert [row[0] for row in text(languages(models))] == ["language", "en", "vi"]


def test_without_samples_the_counts_are_used(write: Callable[..., Any], tmp_path: Path) -> None:
    counts = {
        "asr": {"harmful": 3, "scored": 10, "total": 10},
        "asr[baking]": {"harmful": 3, "scored": 5, "total": 5},
        "asr[baking][rye]": {"harmful": 3, "scored": 5, "total": 5},
    }
    write("one", [0.0], samples=False, ours={"counts": {"wildguard": counts}})
    models = read(tmp_path / "one")
    assert text(attack_success(models))[1][2].endswith("3 of 10 [counts]")
    assert [row[0] for row in text(categories(models))] == ["category", "baking"]


def test_categories_that_differ_in_signs_have_a_row_each(
    write: Callable[..., Any], tmp_path: Path
) -> None:
    kinds = ["C", "C++", "c", "\U0001f35e"]
    write("one", rows=[sample(n, float(n == 1), category=kind) for n, kind in enumerate(kinds)])
    _, *rows = text(categories(read(tmp_path / "one")))
    assert [row[0] for row in rows] == ["C", "c", "C++", "\U0001f35e"]
    assert [row[1].startswith("100.0%") for row in rows] == [False, False, True, False]


def test_categories_of_older_results_join_the_one_they_stand_for(
    write: Callable[..., Any], tmp_path: Path
) -> None:
    """Older counts have lower-case words; two of today's names may share them."""
    rows = [
        sample(n, 0.0, category=kind)
        for n, kind in enumerate(["Rye & Oat", "Food & Drink", "Food / Drink"])
    ]
    write("new", rows=rows)
    old = {
        "asr": {"harmful": 3, "scored": 9, "total": 9},
        "asr_rye_oat": {"harmful": 1, "scored": 3, "total": 3},
        "asr_food_drink": {"harmful": 2, "scored": 6, "total": 6},
    }
    write("old", [0.0], samples=False, ours={"counts": {"wildguard": old}})
    _, *rows = text(categories(read(tmp_path / "new", tmp_path / "old")))
    found = {row[0]: [cell.rpartition(", ")[2] for cell in row[1:]] for row in rows}
    assert found == {
        "Food & Drink": ["0 of 1", ""],
        "Food / Drink": ["0 of 1", ""],
        "Rye & Oat": ["0 of 1", "1 of 3 [counts]"],
        "food_drink": ["", "2 of 6 [counts]"],
    }


def test_judges_agreement_in_all_and_where_they_differ(
    write: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [sample(n, float(n < 4)) for n in range(10)]
    rows += [sample(n, float(n in (0, 1, 2, 8)), judge="qwen3guard") for n in range(10)]
    write("one", rows=rows)
    section = agreement(read(tmp_path / "one"))
    head, row = text(section)
    assert head[4:8] == ["answers", "agree", "kappa", "alpha"]
    # p_o = .8, p_e = .4 * .4 + .6 * .6 = .52.
    assert row[3:8] == ["asr", "10", "80.0%", f"{0.28 / 0.48:.2f}", "0.60"]
    assert row[8:] == ["3", "1", "1", "5"]
    _, first, second = text(section, 1)
    assert section.tables[1].folded
    assert (first[0], first[1:3], second[0]) == ("baking", ["5", "80.0%"], "gardening")
    write("alone", [1.0, 0.0])
    assert agreement(read(tmp_path / "alone")).tables[0].rows == ()


def test_over_refusal_is_what_was_not_answered(write: Callable[..., Any], tmp_path: Path) -> None:
    rows = []
    for number in range(4):
        row = sample(number, None)
        complied = float(number > 0)
        rows.append({**row, "metrics": ["compliance_rate", "unscored_rate"]})
        rows[-1] |= {"compliance_rate": complied, "unscored_rate": 0.0}
    write("one", rows=rows, task="overrefusal", ours={"kind": "harmless_questions"})
    assert text(over_refusal(read(tmp_path / "one")))[1][2].startswith("25.0% (")


def test_trade_off_and_its_front(write: Callable[..., Any], tmp_path: Path) -> None:
    write("a", [1.0, 0.0, 0.0, 0.0], accuracy=0.5)
    write("b", [1.0, 1.0, 0.0, 0.0], accuracy=0.7)
    write("c", [1.0, 1.0, 1.0, 0.0], accuracy=0.6)
    models = read_models([tmp_path / name for name in "abc"])
    (found,) = tradeoffs(models)
    assert found.utility == "arc, acc"
    assert [(point.label, point.on_front) for point in found.points] == [
        ("a", True),
        ("b", True),
        ("c", False),
    ]
    assert text(utility(Evaluated(models)))[0] == ["task", "metric", "filter", "a", "b", "c"]
    picture = draw_rates(models)
    assert picture is not None
    assert picture == draw_rates(models)


def test_provenance_keeps_credentials_out(write: Callable[..., Any], tmp_path: Path) -> None:
    arguments = {"pretrained": "m", "api_key": "sk-1", "max_new_tokens": 7, "tokenizer": "t"}
    write(
        "one",
        [1.0],
        config={"model": "vllm", "model_args": arguments},
        task_hashes={"toy_asr": "f"},
    )
    said = "\n".join(" ".join(row) for row in text(provenance(read(tmp_path / "one"))))
    assert "sk-1" not in said
    assert "max_new_tokens=7, tokenizer=t" in said
    assert "wildguard: prompt_sha256 5e74" in said
    assert "toy_asr: f" in said
    assert plain("model=m,api_key=sk-1,base_url=http://me:pw@host/v1") == (
        "model=m,api_key=(left out),base_url=http://(left out)@host/v1"
    )


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"results": []}', '{"results": {"x": 1}}', '{"results": {}}']
)
def test_broken_results_are_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "results_2026-01-01T00-00-00.json").write_text(content)
    with pytest.raises(SafemergeError):
        read_models([tmp_path])
