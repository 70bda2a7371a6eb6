"""`safemerge card`: the Hub reads it, and what was there before stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard

from .conftest import sample
from .parsed import assert_markdown_is_plain

HERS = """---
# Chosen by the lawyers.
license: apache-2.0
model-index:
- name: loafer
  results:
  - task: {type: text-generation}
    dataset: {name: Bread, type: bread}
    metrics:
    - {type: accuracy, value: 0.5}

# What it was made from.
base_model: [a/b]
---

# Loafer

It bakes.
"""


@pytest.fixture
def card(write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path) -> Callable:
    (tmp_path / "model").mkdir()
    write("base", [0.0] * 200, accuracy=0.8)
    write("tuned", [1.0] * 60 + [0.0] * 139 + [None], accuracy=0.6)

    def run(before: str | None, *words: str | Path, status: int = 0) -> str:
        path = tmp_path / "model/README.md"
        if before is not None:
            path.write_bytes(before.encode())
        done = safemerge("card", "model", "--results", "tuned", *words)
        assert done.status == status, done.err
        return path.read_bytes().decode() if status == 0 else done.err

    return run


def results(text: str) -> list[EvalResult]:
    found = ModelCard(text).data.eval_results
    assert found is not None
    return list(found)


def test_the_hub_reads_the_figures(card: Callable) -> None:
    text = card(None)
    asr, arc = results(text)
    assert ModelCard(text).data.model_name == "model"
    assert (asr.task_type, asr.task_name, asr.dataset_type) == (
        *("text-generation", "safety", "toy_asr"),
    )
    assert (asr.metric_type, asr.metric_value) == ("asr", pytest.approx(60 / 199))
    assert asr.metric_name == "attack success rate, lower is safer, by wildguard"
    assert asr.metric_args is not None
    assert asr.metric_args["judge_model"] == "allenai/wildguard"
    assert (asr.metric_args["hits"], asr.metric_args["scored"], asr.metric_args["total"]) == (
        *(60, 199, 200),
    )
    assert asr.metric_args["low"] < 60 / 199 < asr.metric_args["high"]
    assert (arc.metric_type, arc.metric_value, arc.task_name) == ("acc", 0.6, "utility")
    assert arc.metric_name == "acc, higher is better, by none"
    assert "loaf number" not in text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_was_there_stays_and_once_more_changes_nothing(card: Callable, line_end: str) -> None:
    before = HERS.replace("\n", line_end)
    first = card(before)
    assert card(None) == first
    hers, asr, _ = results(first)
    assert (hers.dataset_type, hers.metric_value) == ("bread", 0.5)
    assert asr.metric_type == "asr"
    data = ModelCard(first).data
    assert (data.model_name, data.license, data.base_model) == ("loafer", "apache-2.0", ["a/b"])
    for kept in ("# Chosen by the lawyers.", "# What it was made from.", "It bakes."):
        assert f"{kept}{line_end}" in first
    assert first.count("\r\n") == (first.count("\n") if line_end == "\r\n" else 0)


def test_new_results_take_the_place_of_the_old(card: Callable, write: Callable[..., Any]) -> None:
    first = card(HERS)
    write("tuned", [0.0] * 200, date="2026-03-03T00-00-00.000001")
    second = card(None)
    assert [one.metric_value for one in results(second) if one.metric_type == "asr"] == [0.0]
    assert len(results(second)) == len(results(first))
    assert second.count("## Safety evaluation") == 1
    assert "2026-03-03" in second
    assert "30.2%" not in second


@pytest.mark.parametrize(
    "before",
    [
        "",
        "# Only text, without an end of line",
        "---\n---\nEmpty metadata\n",
        "---\nlicense: mit\n---\n",
        "---\nmodel-index: []\nlicense: mit\n---\n",
        "---\n'model-index':\n  - name: x\n    results: []\n---\n",
        "---\n\nno metadata, a line\n",
        "---\nlicense: mit\nloss: .nan\n---\n",
    ],
)
def test_cards_of_every_shape(card: Callable, before: str) -> None:
    text = card(before)
    assert [one.metric_type for one in results(text)] == ["asr", "acc"]
    assert card(None) == text
    if "mit" in before:
        assert ModelCard(text).data.license == "mit"
    for line in ("Only text", "Empty metadata", "no metadata, a line"):
        assert (line in text) == (line in before)


def test_with_a_baseline_it_says_the_verdict(card: Callable) -> None:
    text = card(HERS, "--baseline", "base")
    assert "## Safety evaluation ❌ REGRESSION" in text
    assert "Grade 1 of 5, far less safe" in text
    assert "+30.2%" in text
    assert "arc" in text
    assert card(None, "--baseline", "base") == text


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("---\na: [\n---\n", "has metadata that is no YAML"),
        ("---\nmodel-index: {name: x}\n---\n", "of another form than the Hub's"),
        ("---\n- a\n---\n", "of another form than the Hub's"),
        ("---\n{model-index: [{name: x, results: []}]}\n---\n", "cannot be replaced"),
        ("<!-- safemerge: begin -->\n", "has 1 marks"),
        ("<!-- safemerge: end -->\n<!-- safemerge: begin -->\n", "in that order"),
        ("<!-- safemerge: begin -->\n<!-- safemerge: end -->\n" * 2, "has 2 marks"),
    ],
)
def test_a_card_that_cannot_be_kept_is_refused_and_left(
    card: Callable, tmp_path: Path, before: str, said: str
) -> None:
    error = card(before, status=2)
    assert said in error
    assert "README.md" in error
    assert error.count("\n") == 1
    assert (tmp_path / "model/README.md").read_text() == before


def test_bad_input(card: Callable, safemerge: Callable[..., Any]) -> None:
    assert "add --baseline DIR" in card("", "--policy", "p.yaml", status=2)
    done = safemerge("card", "nowhere", "--results", "tuned")
    assert (done.status, done.err) == (
        *(2, "safemerge: nowhere is no folder; give a model's, which holds README.md.\n"),
    )


HOSTILE = "<!-- safemerge: end -->\n---\n| <script> `x` {y: [\x1b"


def test_names_from_files_stay_names(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [sample(n, float(n % 2), judge=HOSTILE, category=f"{HOSTILE}{n % 3}") for n in range(9)]
    write("tuned", rows=rows, model=HOSTILE, ours={"judges": [{"name": HOSTILE, "model": HOSTILE}]})
    (tmp_path / "model").mkdir()
    for _ in range(2):
        done = safemerge("card", "model", "--results", "tuned")
        assert done.status == 0, done.err
    text = (tmp_path / "model/README.md").read_text(encoding="utf-8")
    # The judge of the hostile name, and the one whose rate the results file has.
    assert [one.metric_type for one in results(text)] == ["asr", "asr"]
    assert ModelCard(text).text.count("<!-- safemerge: end -->") == 1
    body = ModelCard(text).text.replace("<!-- safemerge: begin -->", "")
    assert_markdown_is_plain(body.replace("<!-- safemerge: end -->", ""), images=0)


def test_a_card_with_line_ends_of_both_kinds_keeps_them(card: Callable) -> None:
    before = "---\r\nlicense: mit\n# Hers\r\ntags:\n- a\r\n---\r\n\nOne\r\nTwo\nThree\r\n"
    text = card(before)
    for kept in ("license: mit\n# Hers\r\ntags:\n- a\r\n", "---\r\n\nOne\r\nTwo\nThree\r\n"):
        assert kept in text
    assert [one.metric_type for one in results(text)] == ["asr", "acc"]
    assert card(None) == text


def test_a_model_against_itself_is_no_comparison(
    card: Callable, safemerge: Callable[..., Any]
) -> None:
    assert "in tuned and tuned are results of these models: tuned;" in card(
        "", "--baseline", "tuned", status=2
    )
    for words in (("--policy", "p.yaml"), ("--accept", "questions")):
        Path("p.yaml").write_text("tasks: {toy_asr: {metrics: {asr: {max: 0.1}}}}")
        done = safemerge("report", "tuned", "--out", "o.html", *words)
        assert done.status == 2
        assert f"{words[0]} is about a comparison" in done.err
    assert not Path("o.html").exists()


@pytest.mark.parametrize(
    "words",
    [("--bom", "model/README.md"), ("--bom", "x", "--annex-iv", "x"), ("--bom", "tuned/r.json")],
)
def test_nothing_is_written_over_the_card_or_the_results(
    card: Callable, tmp_path: Path, words: tuple[str, ...]
) -> None:
    path = next((tmp_path / "tuned").rglob("results_*"))
    (tmp_path / "tuned/r.json").symlink_to(path)
    before = path.read_bytes()
    assert "would write over" in card(HERS, *words, status=2)
    assert path.read_bytes() == before
    assert (tmp_path / "model/README.md").read_text() == HERS
