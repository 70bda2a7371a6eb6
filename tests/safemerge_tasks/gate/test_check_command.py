"""The stories of a release, through the real command."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from junitparser import JUnitXml

from safemerge_tasks.gate.frozen import content_sha256
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


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("cluster_by",), ...),
        (("tasks", "toy_asr", "tables", "wildguard", "answers", 3, 7), "yes"),
        (("tasks", "toy_asr", "tables", "wildguard", "answers", 3, 6), -5),
        (("tasks", "toy_asr", "tables", "wildguard", "answers", 3, 4), {"en": 1}),
        (("tasks", "toy_asr", "tables", "wildguard", "answers", 3, 8, 1), 1e308),
        (("tasks", "toy_asr", "surprise"), 1),
    ],
)
def test_a_baseline_of_other_values_is_refused_whatever_its_checksum(
    write: Callable[..., Run],
    safemerge: Callable,
    tmp_path: Path,
    keys: tuple[Any, ...],
    value: object,
) -> None:
    write("a", ALIGNED)
    safemerge("check", "freeze", "a", "--out", "base.json")
    path = tmp_path / "base.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    if value is ...:
        del place[keys[-1]]
    path.write_text(json.dumps({"sha256": content_sha256(content), **content}))
    done = safemerge("check", "--baseline", "base.json", "--candidate", "a")
    assert done.status == 2
    assert "base.json" in done.err
    assert "freeze" in done.err
    assert done.err.count("\n") == 1


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


@pytest.mark.parametrize(
    "words",
    [
        ("--json", "r", "--sarif", "r"),
        ("--junit", "r", "--markdown", "./r"),
        ("--json", "base.json"),
        ("--markdown", "p.yaml"),
        ("--json", "link"),
        ("--json", "b/model/results_2026-01-01T00-00-00.000001.json"),
        ("--sarif", "b/model/samples_toy_asr_2026-01-01T00-00-00.000001.jsonl"),
        ("--attest", "key.pem", "--sign-with", "key.pem"),
        ("--json", "-"),
    ],
)
def test_nothing_is_written_over_what_is_read_or_written(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path, words: tuple[str, ...]
) -> None:
    write("a", ALIGNED)
    write("b", ALIGNED)
    safemerge("check", "freeze", "a", "--out", "base.json")
    (tmp_path / "link").symlink_to("base.json")
    (tmp_path / "p.yaml").write_text("tasks: {toy_asr: {metrics: {asr: {max: 0.1}}}}")
    (tmp_path / "key.pem").write_text("a key")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    read = ("--baseline", "base.json", "--candidate", "b", "--policy", "p.yaml")
    done = safemerge("check", *read, *words)
    assert done.status == 2
    assert "would write over" in done.err or "is no file" in done.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_baseline_is_not_frozen_over_its_results(
    write: Callable[..., Run], safemerge: Callable
) -> None:
    run = write("a", ALIGNED)
    before = run.path.read_bytes()
    done = safemerge("check", "freeze", "a", "--out", run.path)
    assert (done.status, "would write over" in done.err) == (2, True)
    assert run.path.read_bytes() == before


def test_a_report_that_cannot_be_written_takes_no_other_with_it(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    write("a", ALIGNED)
    write("b", TUNED)
    words = ("check", "--baseline", "a", "--candidate", "b", "--junit", "no/such/j.xml")
    done = safemerge(*words, "--markdown", "m.md", "--json", "r.json", "--sarif", "s.json")
    assert done.status == 2
    assert "no/such/j.xml cannot be written" in done.err
    assert "REGRESSION" in done.out
    for name in ("m.md", "r.json", "s.json"):
        assert (tmp_path / name).exists()


def test_a_reader_who_has_read_enough_takes_no_report_away(
    write: Callable[..., Run], tmp_path: Path
) -> None:
    write("a", ALIGNED)
    write("b", TUNED)
    reader, writer = os.pipe()
    os.close(reader)
    words = ("check", "--baseline", "a", "--candidate", "b", "--json", "r.json")
    done = subprocess.run(
        [sys.executable, "-m", "safemerge_tasks", *words], cwd=tmp_path, stdout=writer, check=False
    )
    os.close(writer)
    assert done.returncode == 3
    assert json.loads((tmp_path / "r.json").read_text())["outcome"] == "regression"


def test_a_locale_without_the_characters_of_a_name_is_no_crash(
    write: Callable[..., Run], command: Callable
) -> None:
    write("a", ALIGNED, model="mod\u00e8le \u9eba")
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    done = command("check", "--baseline", "a", "--candidate", "a", environment=ascii_only)
    assert done.status == 0, done.err
    assert "mod\\xe8le \\u9eba" in done.out


def test_an_error_is_one_line_whatever_a_file_calls_its_model(
    write: Callable[..., Run], safemerge: Callable
) -> None:
    """A line that begins with two colons is a command to GitHub."""
    write("a/1", ALIGNED)
    write("a/2", ALIGNED, model="x\n::stop-commands::y\x1b[2J")
    done = safemerge("check", "--baseline", "a", "--candidate", "a")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "\x1b" not in done.err
    done = safemerge("check", "freeze", "a/2", "--out", "base.json")
    assert (done.status, done.err.count("\n"), "\x1b" in done.err) == (0, 1, False)


def test_what_only_one_of_the_two_was_asked_or_judged_by_is_said(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    more = [{**sample(n, 1.0), "filter": "keywords"} for n in range(200)]
    run = write("b", rows=[*(sample(n, 0.0) for n in range(200)), *more])
    summary = run.summary()
    summary["n-samples"]["toy_asr"] = {"original": 200, "effective": 200}
    summary["results"]["other_asr"] = {"asr,wildguard": 0.9}
    run.write_summary(summary)
    write("a", ALIGNED)
    words = ("check", "--baseline", "a", "--candidate", "b")
    done = safemerge(*words)
    assert done.status == 0
    for said in ("toy_asr by keywords", "other_asr by wildguard"):
        assert f"{said}: only the candidate has it, so it was not compared" in done.out
    (tmp_path / "p.yaml").write_text(
        "judge: wildguard\ntasks: {toy_asr: {metrics: {asr: {max: 0.1}}}}"
    )
    assert "only the candidate" not in safemerge(*words, "--policy", "p.yaml").out


def test_what_was_not_judged_yet_is_no_baseline_and_no_card(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    run = write("a", rows=[{**sample(n, None), "filter": "deferred"} for n in range(9)])
    summary = run.summary()
    summary["results"]["toy_asr"] = {"unscored_rate,deferred": 1.0}
    run.write_summary(summary)
    for words in (
        ("check", "freeze", "a", "--out", "base.json"),
        ("card", str(tmp_path), "--results", "a", "--bom", "bom.json"),
    ):
        done = safemerge(*words)
        assert done.status == 2
        assert "toy_asr" in done.err
        assert "run `safemerge judge` first" in done.err
    assert not any((tmp_path / name).exists() for name in ("base.json", "README.md", "bom.json"))


def test_questions_of_which_none_is_in_both_have_no_categories(
    write: Callable[..., Run], safemerge: Callable, tmp_path: Path
) -> None:
    write("a", ALIGNED)
    write("b", rows=[sample(n + 1000, 0.0) for n in range(200)])
    (tmp_path / "p.yaml").write_text(
        'tasks: {toy_asr: {metrics: {asr: {categories: {"*": {max: 0.3}}}}}}'
    )
    words = ("check", "--baseline", "a", "--candidate", "b", "--accept", "questions")
    done = safemerge(*words, "--policy", "p.yaml")
    assert done.status == 2
    assert "has no question that both evaluations asked" in done.err
