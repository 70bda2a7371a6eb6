"""`safemerge compare-paper`: a word for each printed number, and why where there is none."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.published import Number, papers, read_paper

from .conftest import sample

THREE = {"harmfulqa_196_asr": 196, "adversarialqa_200_asr": 200, "dangerousqa_asr": 200}


@pytest.fixture
def evaluate(write: Callable[..., Any]) -> Callable[..., None]:
    """Return what writes one model's results of some tasks, each with so many harmful answers."""

    def evaluated(
        name: str,
        harmful: int,
        tasks: dict[str, int] = THREE,
        judge: str = "chat",
        unscored: int = 0,
    ) -> None:
        for place, (task, questions) in enumerate(tasks.items()):
            outcomes: Sequence[float | None] = [
                None if n < unscored else float(n < unscored + harmful) for n in range(questions)
            ]
            rows = [sample(n, outcome, judge=judge) for n, outcome in enumerate(outcomes)]
            ours = {"judges": [{"name": judge}]}
            date = f"2026-01-0{place + 1}T00-00-00.000001"
            write(name, rows=rows, task=task, ours=ours, date=date, model=name)

    return evaluated


def cells(done: Any) -> dict[tuple[str, float], Any]:
    assert done.status == 0, done.err
    found = json.loads(done.out)["numbers"]
    return {(one["row"], round(one["published"], 4)): one for one in found}


def test_inside_and_outside(evaluate: Callable[..., None], safemerge: Callable[..., Any]) -> None:
    evaluate("tuned", 36)
    evaluate("repaired", 36)
    given = ("lora-sft=tuned", "lora-resta-d=repaired")
    found = cells(safemerge("compare-paper", *given, "--json"))
    ours = found["lora-sft", 0.186]
    assert ours["word"] == "inside"
    assert ours["ours"]["value"] == pytest.approx((36 / 196 + 36 / 200 + 36 / 200) / 3)
    assert ours["ours"]["low"] < 0.186 < ours["ours"]["high"]
    assert found["lora-resta-d", 0.051]["word"] == "outside"
    assert found["full-sft", 0.092]["why"] == "no results for this row; give full-sft=DIR"
    assert len(found) == len(read_paper("resta2024").numbers)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"judge": "wildguard"}, "judged by wildguard, the paper's by GPT-4 with the tags"),
        ({"tasks": {**THREE, "harmfulqa_196_asr": 50}}, "harmfulqa_196_asr has 50 questions, the"),
        ({"tasks": {"dangerousqa_asr": 200}}, "no asr of harmfulqa_196_asr; no asr of adversarial"),
        ({"unscored": 40}, "40 of harmfulqa_196_asr are unscored"),
    ],
)
def test_what_makes_a_number_not_comparable(
    evaluate: Callable[..., None], safemerge: Callable[..., Any], changes: Any, why: str
) -> None:
    evaluate("tuned", 36, **changes)
    found = cells(safemerge("compare-paper", "lora-sft=tuned", "--json"))["lora-sft", 0.186]
    assert found["word"] == "not comparable"
    assert why in found["why"]
    assert (found["ours"] is None) == why.startswith("no asr")


def test_numbers_that_nobody_can_meet(
    evaluate: Callable[..., None], safemerge: Callable[..., Any]
) -> None:
    evaluate("repaired", 3, {**THREE, "catqa_asr_en": 550})
    found = cells(safemerge("compare-paper", "full-best=repaired", "--json"))
    assert "the better of two models" in found["full-best", 0.015]["why"]
    found = cells(safemerge("compare-paper", "full-resta=repaired", "--json"))
    assert "the languages" in found["full-resta", 0.0468]["why"]


def test_a_folder_with_rows_and_the_table(
    evaluate: Callable[..., None], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    evaluate("results/lora-sft", 36)
    done = safemerge("compare-paper", "results", "--markdown", "out.md")
    assert done.status == 0, done.err
    for said in (
        "18.6%",
        "inside",
        "arXiv 2402.11746",
        "Neither says that the models are the same",
    ):
        assert said in done.out
    markdown = (tmp_path / "out.md").read_text()
    assert "| 18.6% " in markdown
    assert "inside" in markdown


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["tuned"], "tuned has no folder called as a row of the paper .* as in lora-sft=tuned"),
        (["sft=tuned"], "'sft' is no row; give lora-sft, "),
        (["lora-sft=tuned", "lora-sft=tuned"], "tuned: lora-sft is tuned already"),
        (["lora-sft=none"], "none"),
        (["lora-sft=."], "has results of 2 models"),
        (["lora-sft=tuned", "--paper", "farn2024"], "no numbers of farn2024 are recorded; give"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    evaluate: Callable[..., None], safemerge: Callable[..., Any], given: list[str], sentence: str
) -> None:
    evaluate("tuned", 3)
    evaluate("other", 3)
    done = safemerge("compare-paper", *given)
    assert done.status == 2
    assert len(done.err.strip().splitlines()) == 1

    assert re.search(sentence, done.err)


def test_numbers_of_a_paper_of_ones_own(
    evaluate: Callable[..., None], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    paper = {
        "source": "Baker 2026",
        "judge": "wildguard",
        "judged_by": "WildGuard",
        "rows": {"base": "the base"},
        "benchmarks": {"adv": {"title": "AdvBench", "tasks": {"advbench_asr": 520}}},
        "numbers": [{"row": "base", "benchmark": "adv", "value": "0.2"}],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(paper))
    evaluate("base", 1, {"advbench_asr": 520}, judge="wildguard")
    found = cells(safemerge("compare-paper", "base=base", "--paper", "mine.yaml", "--json"))
    assert found["base", 0.002]["word"] == "inside"
    paper["numbers"][0]["row"] = "tuned"  # type: ignore[index]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(paper))
    with pytest.raises(SafemergeError, match="'tuned' is none of base"):
        read_paper(str(tmp_path / "mine.yaml"))


def test_a_number_stands_for_all_rates_that_are_printed_so() -> None:
    given = {"row": "a", "benchmark": "b"}
    assert Number(value="18.6", **given).range == pytest.approx((0.1855, 0.1865))
    assert Number(value="4.34", **given).range == pytest.approx((0.04335, 0.04345))


def test_every_recorded_paper_has_its_source() -> None:
    for name in papers():
        assert "arXiv" in read_paper(name).source


def test_numbers_of_ones_own_that_say_something_twice(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("source: here\nsource: there\n")
    with pytest.raises(SafemergeError, match=r"mine.yaml, line 2: source is given twice"):
        read_paper(str(tmp_path / "mine.yaml"))
