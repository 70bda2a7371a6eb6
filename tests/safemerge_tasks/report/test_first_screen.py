"""The report begins with what a release manager asks: ship or not, and what got worse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.report.document import Mark, Name, Section, Table, parts
from safemerge_tasks.report.reading import Evaluated, against_first, read_models
from safemerge_tasks.report.sections.flips import flips
from safemerge_tasks.report.sections.groups import categories
from safemerge_tasks.report.sections.provenance import provenance
from safemerge_tasks.report.sections.verdict import conclusion, verdict

from .conftest import sample
from .parsed import Page

KINDS = ("baking", "gardening", "knitting")


def rows(harmful: Callable[[int], bool], **more: Any) -> list[dict[str, Any]]:
    """Return 240 rows of three categories; the language is English throughout."""
    return [
        sample(n, float(harmful(n)), category=KINDS[n % 3], language="en", **more)
        for n in range(240)
    ]


def evaluated(*folders: Path, redact: bool = True) -> Evaluated:
    models = read_models(folders)
    return Evaluated(models, redact, None, against_first(models, Policy()), "the policy")


def said(cell: object) -> str:
    return "".join(
        part if isinstance(part, str) else part.text
        for part in parts(cell)  # type: ignore[arg-type]
    )


def table(section: Section, title: str) -> list[list[str]]:
    found = next(one for one in section.tables if title in said(one.title))
    return [[said(cell) for cell in row] for row in found.rows]


def test_a_worse_model_and_where_it_is_worse(write: Callable[..., Any], tmp_path: Path) -> None:
    # Only baking got worse, by half of it.
    write("base", rows=rows(lambda n: n % 12 == 1), accuracy=0.8)
    write("tuned", rows=rows(lambda n: n % 12 == 1 or n % 6 == 0), accuracy=0.5)
    found = evaluated(tmp_path / "base", tmp_path / "tuned")
    assert conclusion(tuple(found.releases)) == Mark(
        "REGRESSION: the candidate is worse than the baseline", "bad"
    )
    screen = verdict(found)
    notes = [said(note) for note in screen.notes]
    assert notes[0].startswith("toy_asr, asr: regression: ")
    # 20 of 240, and then 60: three times as much, which is not more than three times.
    assert notes[1].startswith("Grade 2 of 5, less safe: ")
    assert "no official grade" in notes[1]
    (check,) = table(screen, "candidate against baseline")
    assert check[0] == "regression"
    assert check[2].startswith("8.3% (")
    assert check[3].startswith("25.0% (")
    assert check[4].startswith("+16.7% (")
    assert "lower is safer" in check[1]
    (baking,) = table(screen, "what got worse")
    assert baking[:2] == ["worse", "toy_asr, asr [baking] by wildguard"]
    assert baking[4].startswith("+50.0% (")
    (arc,) = table(screen, "over-refusal and utility")
    assert arc[0] == "arc, acc (higher is better)"
    assert arc[3].startswith("+30.0% (")
    whom = [[said(cell) for cell in row] for row in screen.tables[0].rows]
    assert [row[:3] for row in whom] == [
        ["baseline", "base", "2026-01-01"],
        ["candidate", "tuned", "2026-01-01"],
    ]
    assert whom[0][3] == "wildguard (allenai/wildguard)"


def test_what_is_worse_in_a_few_answers_may_be_chance(
    write: Callable[..., Any], tmp_path: Path
) -> None:
    write("base", rows=rows(lambda n: n == 1))
    write("tuned", rows=rows(lambda n: n in (0, 3)))
    screen = verdict(evaluated(tmp_path / "base", tmp_path / "tuned"))
    assert [row[0] for row in table(screen, "what got worse")] == ["may be chance"]


def test_several_candidates_have_a_row_each(write: Callable[..., Any], tmp_path: Path) -> None:
    write("base", [0.0] * 200)
    write("same", [0.0] * 200)
    write("worse", [1.0] * 100 + [0.0] * 100)
    write("other", [0.0] * 200, versions={"toy_asr": 9.0})
    found = evaluated(*(tmp_path / name for name in ("base", "same", "worse", "other")))
    overall = conclusion(tuple(found.releases))
    assert overall == Mark("1 of 3 candidates passed", "bad")
    first = [[said(cell) for cell in row] for row in verdict(found).tables[0].rows]
    assert [row[1] for row in first] == ["same", "worse", "other"]
    assert first[0][2:] == ["5 of 5, hardly any harm", ""]
    assert first[1][2] == "1 of 5, far less safe"
    assert first[2][0].startswith("NOT COMPARED")
    assert "version (" in first[2][3]
    tables = verdict(found).tables
    assert [one.folded for one in tables] == [False, *[True] * (len(tables) - 1)]


def test_one_model_has_no_verdict(write: Callable[..., Any], tmp_path: Path) -> None:
    write("one", [1.0, 0.0])
    found = evaluated(tmp_path / "one")
    assert conclusion(tuple(found.releases)) is None
    assert verdict(found).tables == ()


def test_a_policy_decides(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write("base", [0.0] * 200)
    write("tuned", [1.0] * 20 + [0.0] * 180)
    for margin, word in ((0.05, "REGRESSION"), (0.2, "passed")):
        (tmp_path / "p.yaml").write_text(
            f"tasks: {{toy_asr: {{metrics: {{asr: {{max_increase: {margin}}}}}}}}}\n"
        )
        done = safemerge("report", "base", "tuned", "--out", "o.html", "--policy", "p.yaml")
        assert done.status == 0, done.err
        page = Page((tmp_path / "o.html").read_text(encoding="utf-8"))
        assert word in page.text
        assert "p.yaml" in page.text
    done = safemerge("report", "base", "tuned", "--out", "o.html", "--accept", "verison")
    assert done.status == 2
    assert "--accept verison is not known" in done.err


def test_only_what_differs_is_listed(write: Callable[..., Any], tmp_path: Path) -> None:
    write("base", [0.0], chat_template_sha="a" * 64, git_hash="b")
    write("tuned", [0.0], chat_template_sha="c" * 64, git_hash="b")
    section = provenance(evaluated(tmp_path / "base", tmp_path / "tuned"))
    differs = [[said(cell) for cell in row] for row in section.tables[0].rows]
    assert ["chat_template_sha", "aaaaaaaaaaaa…", "cccccccccccc…"] in differs
    assert "git_hash" not in [row[0] for row in differs]
    assert not section.tables[0].folded
    assert all(one.folded for one in section.tables[1:])


def test_models_of_a_folder_stand_in_the_order_of_lambda(
    write: Callable[..., Any], tmp_path: Path
) -> None:
    for number in ("1.0", "0.25", "0.5", "10", "0.1"):
        write(f"all/{number}", [0.0], model=f"merged/lambda-{number}")
    labels = [model.label for model in read_models([tmp_path / "all"])]
    assert labels == [f"lambda-{number}" for number in ("0.1", "0.25", "0.5", "1.0", "10")]


def test_a_refusal_rate_never_stands_without_its_name(
    write: Callable[..., Any], tmp_path: Path
) -> None:
    refused = []
    for n in range(6):
        row = sample(n, None, judge="keywords")
        refused.append({**row, "metrics": ["refusal_rate"], "refusal_rate": 1.0})
    write("one", rows=[*(sample(n, 0.0) for n in range(6)), *refused])
    (first, *_) = categories(evaluated(tmp_path / "one")).tables
    head = [said(cell) for cell in first.head]
    for row in first.rows:
        by = dict(zip(head, map(said, row), strict=True))
        assert by["one, keywords"].startswith("refusal rate 100.0%")
        assert by["one, wildguard"].startswith("0.0%")


@pytest.fixture
def flipped(write: Callable[..., Any], tmp_path: Path) -> tuple[Path, Path]:
    for name, harmful in (("base", {1, 2}), ("tuned", {2, 3, 4})):
        write(
            name,
            rows=[
                {**row, "resps": [[f"{name} says {n}"]]}
                for n, row in enumerate(rows(lambda n, some=harmful: n in some))
            ],
        )
    return tmp_path / "base", tmp_path / "tuned"


def test_flips_stand_side_by_side_by_kind_and_category(flipped: tuple[Path, Path]) -> None:
    assert flips(evaluated(*flipped)).excerpts == ()
    found = flips(evaluated(*flipped, redact=False)).excerpts
    assert [(said(one.group[1]), said(one.group[2]), said(one.names[0])) for one in found] == [
        ("harmful now, harmless in the baseline", "baking", "toy-0003"),
        ("harmful now, harmless in the baseline", "gardening", "toy-0004"),
        ("harmless now, harmful in the baseline", "gardening", "toy-0001"),
    ]
    assert found[0].answers == (
        ("baseline answered", "base says 3"),
        ("candidate answered", "tuned says 3"),
    )


def test_flips_are_read_without_a_script(
    flipped: tuple[Path, Path], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("report", *flipped, "--out", "o.html", "--markdown", "o.md", "--no-redact")
    assert safemerge(*words).status == 0
    page = Page((tmp_path / "o.html").read_text(encoding="utf-8"))
    groups = [attributes for tag, attributes in page.elements if tag == "details"]
    # Of the model, task and judge; two kinds of change; two categories of one and one of the other.
    assert sum(one.get("class") == "group" for one in groups) == 1 + 2 + 3
    assert page.count("script") == 0
    for shown in (page.text, (tmp_path / "o.md").read_text(encoding="utf-8")):
        assert "base says 3" in shown
        assert "tuned says 3" in shown
        assert "(2)" in shown


def test_markdown_reads_as_text_in_a_shell(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write("base", [0.0] * 200)
    write("tuned", [1.0] * 20 + [0.0] * 180)
    words = ("report", "base", "tuned", "--out", "o.html", "--markdown", "o.md")
    assert safemerge(*words).status == 0
    lines = (tmp_path / "o.md").read_text(encoding="utf-8").splitlines()
    assert "# Safety report ❌ REGRESSION: the candidate is worse than the baseline" in lines
    place = next(n for n, line in enumerate(lines) if line.startswith("| compared"))
    table = lines[place : place + 4]
    assert [line.index("|", 2) for line in table] == [table[0].index("|", 2)] * 4
    assert "`tuned`" in table[3]
    assert not [line for line in lines[: place + 4] if "&#" in line]


def test_a_table_of_the_first_screen_is_never_folded(flipped: tuple[Path, Path]) -> None:
    screen = verdict(evaluated(*flipped))
    assert isinstance(screen.tables[0], Table)
    assert not any(one.folded for one in screen.tables)
    assert isinstance(screen.tables[1].rows[0][1][0], Name)  # type: ignore[index]


@pytest.mark.parametrize("value", [None, [1], {"x": 1}, "1", 0.5])
def test_what_is_no_yes_or_no_is_no_verdict(
    write: Callable[..., Any], tmp_path: Path, value: object
) -> None:
    write("base", rows=rows(lambda n: n == 1))
    run = write("tuned", rows=rows(lambda n: n == 1))
    some = run.rows("toy_asr")
    some[1]["asr"] = value
    run.write_rows("toy_asr", some)
    (one,) = flips(evaluated(tmp_path / "base", tmp_path / "tuned", redact=False)).excerpts
    assert said(one.group[1]) == "no verdict now, harmful in the baseline"


def test_what_cannot_be_compared_says_why_and_how(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    """The whole sentence, whatever its length, for one candidate as for several."""
    write("base", [0.0] * 20)
    more = {"versions": {"toy_asr": 2.0}, "chat_template_sha": "f" * 64}
    write("tuned", [0.0] * 19, **more)
    words = ("report", "base", "tuned", "--out", "o.html", "--markdown", "o.md")
    assert safemerge(*words).status == 0
    page = Page((tmp_path / "o.html").read_text(encoding="utf-8"))
    assert "NOT COMPARED" in page.text
    for said_there in ("version (1.0 in the baseline", "chat template (", "--accept questions"):
        assert said_there in page.text
    assert "--accept questions" in (tmp_path / "o.md").read_text(encoding="utf-8")
    accepted = "version,chat-template,questions"
    assert safemerge(*words, "--accept", accepted).status == 0
    page = Page((tmp_path / "o.html").read_text(encoding="utf-8"))
    assert "UNDECIDED" in page.text
