"""The stories of a release, through the real command."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from junitparser import JUnitXml

from safemerge_tasks.report.documents.gate_data import SCHEMA, schema
from safemerge_tasks.results import Run

from .conftest import sample

ALIGNED = [0.0] * 200
TUNED = [1.0] * 60 + [0.0] * 140


def test_equal_models_pass(write: Callable[..., Run], command: Callable) -> None:
    write("a", ALIGNED)
    write("b", [*ALIGNED[:-1], 1.0])
    done = command("check", "--baseline", "a", "--candidate", "b")
    assert (done.status, done.out.splitlines()[-1].split(":")[0]) == (0, "passed")
    assert "toy-0199" in done.out


def test_a_worse_model_fails_and_all_reports_say_the_same(
    write: Callable[..., Run], command: Callable, tmp_path: Path
) -> None:
    write("a", ALIGNED)
    write("b", TUNED)
    done = command(
        *("check", "--baseline", "a", "--candidate", "b", "--junit", "j.xml"),
        *("--markdown", "m.md", "--json", "r.json"),
    )
    assert done.status == 1
    assert "REGRESSION" in done.out
    report = json.loads((tmp_path / "r.json").read_text())
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    assert (report["outcome"], report["exit_status"]) == ("regression", 1)
    check = report["checks"][0]
    assert [flip["id"] for flip in sorted(check["worse"], key=lambda flip: flip["id"])] == [
        f"toy-{number:04d}" for number in range(60)
    ]
    assert {flip["language"] for flip in check["worse"]} == {"en", "zh", "vi"}
    assert check["change"] == pytest.approx(0.3)
    case = next(iter(next(iter(JUnitXml.fromfile(str(tmp_path / "j.xml"))))))
    assert case.result[0].type == "regression"
    assert "REGRESSION" in (tmp_path / "m.md").read_text()
    everything = done.out + "".join(
        (tmp_path / name).read_text() for name in ("j.xml", "m.md", "r.json")
    )
    assert "loaf" not in everything
    assert "Response" not in everything


def test_worse_within_the_margin_passes_with_a_warning_everywhere(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    write("a", [0.0] * 520)
    write("b", [1.0] * 5 + [0.0] * 515)
    words = ("check", "--baseline", "a", "--candidate", "b", "--json", "r.json")
    done = safemerge(*words, environment={"GITHUB_ACTIONS": "true"})
    assert done.status == 0
    assert "beyond the margins; 1 warning" in done.out
    assert "passed with a warning: it is surely worse: the increase is at least" in done.out
    assert "\n::warning title=safemerge" in done.out
    (check,) = json.loads((tmp_path / "r.json").read_text())["checks"]
    assert check["warning"]
    # What is printed is what decides.
    assert f"at least {check['lower']:.1%}, at most {check['upper']:.1%}" in check["reason"]


def test_a_better_model_passes(write: Callable[..., Run], safemerge: Callable) -> None:
    write("a", TUNED)
    write("b", ALIGNED)
    assert safemerge("check", "--baseline", "a", "--candidate", "b").status == 0


def test_twenty_questions_are_undecided_and_say_how_many_would_do(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    write("a", ALIGNED[:20])
    write("b", ALIGNED[:20])
    done = safemerge("check", "--baseline", "a", "--candidate", "b", "--json", "r.json")
    assert done.status == 2
    needed = json.loads((tmp_path / "r.json").read_text())["checks"][0]["questions_needed"]
    assert 55 <= needed <= 65
    assert f"about {needed} questions would decide" in done.out


def test_two_flips_of_twenty_are_not_called_a_regression(
    write: Callable[..., Run], safemerge: Callable
) -> None:
    write("a", ALIGNED[:20])
    write("b", [1.0, 1.0, *ALIGNED[:18]])
    assert safemerge("check", "--baseline", "a", "--candidate", "b").status == 2


def test_a_frozen_baseline_does_what_its_folder_does(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    write("a", ALIGNED)
    write("b", TUNED)
    assert safemerge("check", "freeze", "a", "--out", "base.json").status == 0
    frozen = (tmp_path / "base.json").read_text()
    assert "loaf" not in frozen
    assert "Response" not in frozen
    for candidate, status in (("a", 0), ("b", 1)):
        for name in ("r1.json", "r2.json"):
            baseline = "a" if name == "r1.json" else "base.json"
            done = safemerge(
                "check", "--baseline", baseline, "--candidate", candidate, "--json", name
            )
            assert done.status == status
        assert (tmp_path / "r1.json").read_text() == (tmp_path / "r2.json").read_text()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace("toy-0007", "toy-0008", 1), "was changed after it was frozen"),
        (lambda text: text[:-200], "is not a baseline"),
        (lambda text: text.replace('"format":2', '"format":1'), "format 1, and this"),
        (lambda text: "[]", "is not a baseline"),
        (lambda text: "{}", "is not a baseline"),
    ],
)
def test_a_spoilt_baseline_is_refused(
    write: Callable[..., Run],
    safemerge: Callable,
    tmp_path: Path,
    spoil: Callable[[str], str],
    said: str,
) -> None:
    write("a", ALIGNED)
    safemerge("check", "freeze", "a", "--out", "base.json")
    path = tmp_path / "base.json"
    path.write_text(spoil(path.read_text()))
    done = safemerge("check", "--baseline", "base.json", "--candidate", "a")
    assert done.status == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_the_drafted_policy_is_one_and_is_not_overwritten(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    write("a", ALIGNED)
    assert safemerge("check", "init", "a", "--out", "policy.yaml").status == 0
    assert "max_increase: 0.05" in (tmp_path / "policy.yaml").read_text()
    done = safemerge("check", "--baseline", "a", "--candidate", "a", "--policy", "policy.yaml")
    assert done.status == 0
    assert "policy.yaml exists" in safemerge("check", "init", "a", "--out", "policy.yaml").err


def test_text_only_on_demand(write: Callable[..., Run], safemerge: Callable) -> None:
    write("a", ALIGNED)
    write("b", TUNED)
    done = safemerge("check", "--baseline", "a", "--candidate", "b", "--show-text")
    assert "How is loaf number 7 baked?" in done.out
    assert "baseline answered: Response 7" in done.out
    assert "candidate answered: Response 7" in done.out
    # A frozen baseline has no text.
    assert safemerge("check", "freeze", "a", "--out", "base.json").status == 0
    done = safemerge("check", "--baseline", "base.json", "--candidate", "b", "--show-text")
    assert "    answered: Response 7" in done.out
    assert "baseline answered" not in done.out


def test_github_gets_annotations_and_a_summary(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    write("a", ALIGNED)
    write("b", TUNED)
    (tmp_path / "summary.md").write_text("before\n")
    done = safemerge(
        *("check", "--baseline", "a", "--candidate", "b"),
        environment={
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        },
    )
    lines = [line for line in done.out.splitlines() if line.startswith("::")]
    assert len(lines) == 1
    assert lines[0].startswith("::error title=safemerge%3A toy_asr::asr by wildguard: regression")
    assert (tmp_path / "summary.md").read_text().startswith("before\n## ")


def test_a_summary_that_is_too_long_for_github_has_no_texts(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    write("a", ALIGNED)
    rows = [
        sample(n, float(n < 150), resps=[["flour 麺 " * 4000]], doc={"question": "How? " * 4000})
        for n in range(200)
    ]
    write("a", rows=[{**row, "asr": 0.0} for row in rows])
    write("b", rows=rows)
    summary = tmp_path / "summary.md"
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    words = ("check", "--baseline", "a", "--candidate", "b", "--show-text", "--markdown", "m.md")
    assert safemerge(*words, environment=environment).status == 1
    assert len(summary.read_bytes()) < 1024 * 1024
    assert "REGRESSION" in summary.read_text()
    page = (tmp_path / "m.md").read_text()
    assert "flour" in page
    assert ("flour" in summary.read_text()) == (len(page.encode()) < 1024 * 1024)


def test_a_summary_that_is_too_long_without_texts_has_fewer_rows(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    """Ids of signs that take many bytes; and what the step wrote before counts as well."""
    rows = [
        sample(n, float(n < 150), doc={"id": f"{n}" + "<" * 100, "category": f"{n}" + "<" * 100})
        for n in range(200)
    ]
    write("a", rows=[{**row, "asr": 0.0} for row in rows])
    write("b", rows=rows)
    summary = tmp_path / "summary.md"
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    left = {}
    for room in (1_000_000, 60_000, 2_000, 10):
        summary.write_text("-" * (1024 * 1024 - room))
        words = ("check", "--baseline", "a", "--candidate", "b")
        assert safemerge(*words, environment=environment).status == 1
        written = summary.read_bytes()
        assert len(written) < 1024 * 1024
        left[room] = written.strip(b"-").decode()
    assert left[1_000_000].count("<tr") == 0
    lines = {room: page.count("\n| ") for room, page in left.items()}
    assert lines[1_000_000] > lines[60_000] > lines[2_000] == 0
    assert "REGRESSION" in left[2_000]
    assert "too long for a step summary" in left[2_000]
    assert left[10] == ""


@pytest.mark.parametrize("name", ["nothing", "nothing.json"])
def test_a_place_that_is_not_there(
    write: Callable[..., Run], safemerge: Callable, name: str
) -> None:
    write("a", ALIGNED)
    done = safemerge("check", "--baseline", name, "--candidate", "a")
    assert done.status == 2
    assert f"{name} does not exist; give a folder" in done.err


def test_a_file_that_cannot_be_written_is_one_sentence(
    write: Callable[..., Run], safemerge: Callable
) -> None:
    write("a", ALIGNED)
    done = safemerge("check", "--baseline", "a", "--candidate", "a", "--json", "no/such/r.json")
    assert done.status == 2
    assert "no/such/r.json cannot be written" in done.err


def test_the_published_schema_is_that_of_the_code() -> None:
    assert SCHEMA.read_text() == schema()
    jsonschema.Draft202012Validator.check_schema(json.loads(schema()))
