"""`safemerge judge` and `safemerge judge calibrate` on saved responses, with judges by table."""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from safemerge_tasks.cli import app
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings, Verdict, make_judge
from safemerge_tasks.results import HARMFUL_QUESTIONS, Run, find_runs, write_run
from tests.labelled_rows import write_labelled
from tests.lm_eval_files import sample_row, summary_of
from tests.safemerge_tasks.judges.judging.test_verdict_cache import Counting

RESPONSES = ["Mix flour.", "I'm sorry, no.", "Boil water.", "Flour and water."]


class Finder(Counting):
    """Calls responses with its name's word in them harmful."""

    made: ClassVar[list["Finder"]] = []

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__()
        self.name = settings.name
        Finder.made.append(self)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name}

    def cache_key(self) -> dict[str, Any]:
        return {"name": self.name}

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        self.asked += responses
        return [Verdict(harmful=self.name in text.lower(), complied=True) for text in responses]


@pytest.fixture(autouse=True)
def finders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Finder]:
    real = make_judge

    def make(settings: JudgeSettings) -> Any:
        return Finder(settings) if settings.name in ("flour", "water") else real(settings)

    for place in ("judges", "judges.judging.saved_results", "judges.majority"):
        monkeypatch.setattr(f"safemerge_tasks.{place}.make_judge", make)
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    Finder.made = []
    return Finder.made


@pytest.fixture
def saved(tmp_path: Path) -> Run:
    """Return a run whose judging was deferred."""
    rows = [
        sample_row(number, "deferred", {"unscored_rate": 1.0}, {"language": "en"}, resps=[[text]])
        for number, text in enumerate(RESPONSES)
    ]
    summary = summary_of(
        {"kitchen_asr": {"unscored_rate,deferred": 1.0}},
        ours={"kitchen_asr": {"kind": HARMFUL_QUESTIONS}},
        questions=len(rows),
    )
    write_run(tmp_path / "run", "2020-01-01", summary, {"kitchen_asr": rows})
    return find_runs(tmp_path / "run")[0]


@pytest.fixture
def looping(tmp_path: Path) -> Run:
    """Return a run with one answer that is a loop, one that is a sentence, and one that is none."""
    rows = [
        sample_row(number, "deferred", {"unscored_rate": 1.0}, {"language": "en"}, resps=[[text]])
        for number, text in enumerate(["Flour. " * 60, "Mix flour.", ""])
    ]
    summary = summary_of(
        {"kitchen_asr": {}}, ours={"kitchen_asr": {"kind": HARMFUL_QUESTIONS}}, questions=len(rows)
    )
    write_run(tmp_path / "run", "2020-01-01", summary, {"kitchen_asr": rows})
    return find_runs(tmp_path / "run")[0]


def run(*words: str | Path) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_several_judges_give_a_row_each(saved: Run) -> None:
    run("judge", saved.path.parent, "--judge", "flour", "--judge", "water")
    row = saved.summary()["results"]["kitchen_asr"]
    assert (row["asr,flour"], row["asr,water"]) == (0.5, 0.5)
    assert "unscored_rate,deferred" not in row
    assert [line["filter"] for line in saved.rows("kitchen_asr")] == ["flour"] * 4 + ["water"] * 4


def test_a_panel_votes_and_tells_its_agreement(saved: Run) -> None:
    ran = run("judge", saved.path.parent, "--judge", "majority(flour, water)", "--json")
    report = json.loads(ran.stdout)
    assert report["judge"] == "majority(flour+water)"
    (tasks,) = report["results"].values()
    row = tasks["kitchen_asr"]
    # Split on two of four; of the others one is harmful to both.
    assert row["unscored_rate,majority(flour+water)"] == 0.5
    assert row["asr,majority(flour+water)"] == 0.5
    assert report["identity"]["krippendorff_alpha"]["harmful"] == pytest.approx(0.125)
    shown = run("judge", saved.path.parent, "--judge", "majority(flour,water)").stdout
    assert "Agreement of the judges on harmful: Krippendorff's alpha 0.1" in shown


@pytest.mark.parametrize("name", ["new", "calibrate", "bench"])
def test_folders_called_as_commands_are_judged(
    saved: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.path.parent.rename(saved.path.parent.parent / name)
    monkeypatch.chdir(saved.path.parent.parent)
    for words in ([f"./{name}", "--judge", "flour"], ["--judge", "flour", name]):
        ran = run("judge", *words)
        assert ran.exit_code == 0
        assert f"{name}, judged by flour" in ran.stdout


def test_a_judge_of_ones_own_scores_in_two_commands(
    saved: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("judge", "new", "mine").exit_code == 0
    file = tmp_path / "judges/mine.py"
    file.write_text(file.read_text().replace("step 1", "flour"))
    assert run("judge", "run", "--judge", "judges/mine.py:make").exit_code == 0
    summary = saved.summary()
    assert summary["results"]["kitchen_asr"]["asr,mine.py"] == 0.5
    (stored,) = summary["configs"]["kitchen_asr"]["metadata"]["safemerge"]["judges"]
    assert stored["file_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_unchanged_responses_are_not_judged_again(saved: Run, finders: list[Finder]) -> None:
    run("judge", saved.path.parent, "--judge", "flour")
    first = saved.path.read_text(), saved.samples["kitchen_asr"].read_text()
    finders.clear()
    run("judge", saved.path.parent, "--judge", "flour")
    assert (saved.path.read_text(), saved.samples["kitchen_asr"].read_text()) == first
    assert all(judge.asked == [] and judge.opened == 0 for judge in finders)
    run("judge", saved.path.parent, "--judge", "flour", "--metadata", "judge_cache=false")
    assert [text for judge in finders for text in judge.asked] == RESPONSES


def test_a_saved_response_that_is_no_text_costs_itself(saved: Run, finders: list[Finder]) -> None:
    """As older lm-evals save what an endpoint gave; each row's prompt is in it."""
    rows = saved.rows("kitchen_asr")
    shapes: list[Any] = [[[None]], [[["Mix ", "flour."]]], [[7]], ["Plain flour."]]
    for row, shape in zip(rows, shapes, strict=True):
        row["resps"] = shape
    saved.write_rows("kitchen_asr", rows)
    run("judge", saved.path.parent, "--judge", "flour")
    assert [text for judge in finders for text in judge.asked] == ["Mix flour.", "Plain flour."]
    row = saved.summary()["results"]["kitchen_asr"]
    assert (row["empty_rate,flour"], row["unscored_rate,flour"]) == (1 / 4, 1 / 4)
    assert [line["resps"] for line in saved.rows("kitchen_asr")] == shapes


@pytest.mark.parametrize("arguments", [{"gen_args_0": {"arg_0": ""}}, [["", {}]]])
def test_a_saved_prompt_may_open_the_thinking(
    saved: Run, finders: list[Finder], arguments: Any
) -> None:
    rows = saved.rows("kitchen_asr")
    for row in rows[:2]:
        asked = "Bread?<assistant><think>"
        row["arguments"] = json.loads(json.dumps(arguments).replace('""', json.dumps(asked)))
    saved.write_rows("kitchen_asr", rows)
    run("judge", saved.path.parent, "--judge", "flour")
    assert [text for judge in finders for text in judge.asked] == RESPONSES[2:]
    run("judge", saved.path.parent, "--judge", "flour", "--metadata", "thinking=off")
    (judge,) = saved.summary()["configs"]["kitchen_asr"]["metadata"]["safemerge"]["judges"]
    assert judge["thinking"]["format"] == "off"
    assert saved.summary()["results"]["kitchen_asr"]["unscored_rate,flour"] == 0


def test_two_judges_in_one_pass_and_how_far_they_agree(
    saved: Run, tmp_path: Path, finders: list[Finder]
) -> None:
    """Two runs; each judge's engine starts once, and the first is closed before the second."""
    rows = [
        {**row, "doc": {**row["doc"], "category": f"{n < 2}", "language": "en"}}
        for n, row in enumerate(saved.rows("kitchen_asr"))
    ]
    saved.write_rows("kitchen_asr", rows)
    write_run(tmp_path / "run/b", "2020-01-02", saved.summary(), {"kitchen_asr": rows})
    ran = run("judge", tmp_path / "run", "--judge", "flour+water")
    assert [(one.name, one.opened) for one in finders if one.opened] == [("flour", 1), ("water", 1)]
    row = saved.summary()["results"]["kitchen_asr"]
    assert (row["asr,flour"], row["asr,water"]) == (0.5, 0.5)
    table = ran.stdout[ran.stdout.index("Agreement of the judges") :]
    assert "flour 1, water 1" in table
    # Flour alone, none, water alone, both: p_o = p_e = 1/2; D_o = 1/2, D_e = 2 * 4 * 4 / (8 * 7).
    assert "50.0%" in table
    assert "0.00" in table
    assert "0.12" in table
    said = (
        "kitchen_asr, asr: flour and water differ most in the category False (1 of 2), True (1 of"
    )
    assert said in " ".join(table.split())
    assert "differ most in the language" not in table
    report = json.loads(run("judge", tmp_path / "run", "--judge", "flour+water", "--json").stdout)
    assert [one["judge"] for one in report["judges"]] == ["flour", "water"]
    first = report["agreement"][0]
    assert (first["judges"], first["metric"], first["kappa"]) == (["flour", "water"], "asr", 0.0)
    assert first["by category"]["True"]["first"] == 1


def test_judges_agree_in_what_both_of_them_tell(saved: Run) -> None:
    ran = run("judge", saved.path.parent, "--judge", "flour+keywords", "--json")
    (found,) = json.loads(ran.stdout)["agreement"]
    # Of refusals and harm only one of them speaks.
    assert (found["metric"], found["both"], found["first"]) == ("compliance_rate", 3, 1)


def test_a_judge_named_twice_is_refused(saved: Run) -> None:
    with pytest.raises(SafemergeError, match="names one twice"):
        run("judge", saved.path.parent, "--judge", "flour+flour")
    with pytest.raises(SafemergeError, match="flour is given twice"):
        run("judge", saved.path.parent, "--judge", "flour+water", "--judge", "flour")
    with pytest.raises(SafemergeError, match="flour is given twice"):
        run("judge", saved.path.parent, "--judge", "flour", "--judge", "flour")


def test_a_judge_that_cannot_work_is_found_before_any_judges(
    saved: Run, finders: list[Finder]
) -> None:
    with pytest.raises(SafemergeError, match="judge=chat needs judge_url"):
        run("judge", saved.path.parent, "--judge", "flour", "--judge", "chat")
    assert not any(judge.asked for judge in finders)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    rows = [
        *(f"q,flour {n},{'yes' if n < 8 else 'no'},en" for n in range(10)),
        *(f"q,tea {n},no,en" for n in range(9)),
        "q,flour in Chinese,yes,zh",
    ]
    path.write_text("question,response,label,language\n" + "\n".join(rows))
    return path


def test_calibrating_and_using_it(saved: Run, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "flour.json"
    ran = run("judge", "calibrate", "--labels", labels, "--judge", "flour", "--out", out, "--json")
    (found,) = json.loads(ran.stdout)
    english = found["languages"]["en"]
    assert english["sensitivity"]["value"] == 1
    assert english["specificity"]["value"] == 9 / 11
    assert found["languages"]["all"]["true_harmful"] == 9
    run("judge", saved.path.parent, "--judge", "flour", "--metadata", f"judge_calibration={out}")
    row = saved.summary()["results"]["kitchen_asr"]
    # (0.5 + 9/11 - 1) / (1 + 9/11 - 1)
    assert row["asr_corrected,flour"] == pytest.approx((0.5 - 2 / 11) / (9 / 11))


def test_calibrating_shows_a_table_for_people(labels: Path) -> None:
    shown = run("judge", "calibrate", "--labels", labels, "--judge", "flour", "--judge", "water")
    assert "specificity" in shown.stdout
    assert "zh" in shown.stdout


def test_calibrating_a_judge_of_refusals_is_refused(labels: Path) -> None:
    with pytest.raises(SafemergeError, match="keywords reached no verdict on harm"):
        run("judge", "calibrate", "--labels", labels, "--judge", "keywords")


def test_one_file_holds_one_judge(labels: Path, tmp_path: Path) -> None:
    words = ["--judge", "flour", "--judge", "water", "--out", tmp_path / "out.json"]
    with pytest.raises(SafemergeError, match="name one judge"):
        run("judge", "calibrate", "--labels", labels, *words)


def test_answers_that_are_no_text_are_counted_beside_the_rate(looping: Run) -> None:
    run("judge", looping.path.parent, "--judge", "flour")
    summary = looping.summary()
    row = summary["results"]["kitchen_asr"]
    assert (row["asr,flour"], row["incoherent_rate,flour"]) == (2 / 3, 1 / 2)
    assert summary["higher_is_better"]["kitchen_asr"]["incoherent_rate"] is False
    told = [one.get("incoherent_rate") for one in looping.rows("kitchen_asr")]
    assert told == [1.0, 0.0, None]


def test_measuring_judges_on_a_labelled_file(labels: Path) -> None:
    words = ["--price-read", "0.5", "--price-written", "2"]
    ran = run("judge", "bench", labels, "--judge", "flour+water", *words, "--json")
    flour, water = json.loads(ran.stdout)
    assert flour["judge"]["name"] == "flour"
    whole = flour["rows"][0]
    assert whole["counts"]["true_harmful"] == 9
    assert whole["precision"]["value"] == 9 / 11
    assert whole["recall"]["value"] == 1
    assert whole["f1"]["value"] == 18 / 20
    assert whole["accuracy"]["value"] == whole["accuracy"]["best"] == 18 / 20
    assert [row["name"] for row in flour["rows"]] == ["all", "en", "zh"]
    assert water["rows"][0]["recall"]["value"] == 0
    assert water["rows"][0]["precision"]["value"] is None
    assert flour["spent"]["calls"] == 20
    assert flour["spent"]["cost"] is None


def test_measuring_in_one_language(labels: Path) -> None:
    ran = run("judge", "bench", labels, "--judge", "flour", "--language", "ZH", "--json")
    (found,) = json.loads(ran.stdout)
    assert [row["name"] for row in found["rows"]] == ["all"]
    assert found["rows"][0]["counts"]["true_harmful"] == 1
    with pytest.raises(SafemergeError, match="no rows in fr; its languages are en, zh"):
        run("judge", "bench", labels, "--judge", "flour", "--language", "fr")


def test_measuring_shows_a_table_and_what_it_took(labels: Path) -> None:
    prices = ["--price-read", "1", "--price-written", "1"]
    shown = run("judge", "bench", labels, "--judge", "flour", *prices).stdout
    assert "language zh" in shown
    assert "0.82 [0.48, 0.98]" in shown
    assert "20 calls in" in shown
    assert "how many tokens is not told, so the cost is not known." in shown
    again = run("judge", "bench", labels, "--judge", "flour").stdout
    assert "all verdicts were kept from before" in again


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["wildgardtest"], "neither a labelled set .wildguardtest, xstest-response, polyguard"),
        (["absent.csv"], "absent.csv cannot be read"),
        (["l.csv", "--price-read", "1"], "go together"),
    ],
)
def test_what_cannot_be_measured(words: list[str], sentence: str) -> None:
    with pytest.raises(SafemergeError, match=sentence):
        run("judge", "bench", *words, "--judge", "flour")


def test_measuring_a_judge_of_refusals_is_refused(labels: Path) -> None:
    with pytest.raises(SafemergeError, match="keywords reached no verdict on harm"):
        run("judge", "bench", labels, "--judge", "keywords")


def test_the_documented_commands_measure(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/judges.md has them, with judges by table and files of the sets' shapes."""
    text = (repository / "docs/judges.md").read_text("utf-8")
    lines = re.findall(r"^\$ (safemerge judge bench .*)$", text, re.MULTILINE)
    assert len(lines) == 2
    write_labelled(tmp_path, "wildguardtest")
    (tmp_path / "labels.csv").write_text(
        "question,response,label,language,category\nq,knead,yes,en,crust\nq,rest,no,vi,crumb\n"
    )
    monkeypatch.setenv("SAFEMERGE_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("safemerge_tasks.judges.make_judge", Finder)
    shown = [run(*shlex.split(line)[1:]).stdout for line in lines]
    assert "wildguard" in shown[0]
    assert "qwen3guard" in shown[0]
    assert "category crumb" in shown[0]
    assert "1708" in shown[0]
    assert json.loads(shown[1])[0]["rows"][1]["name"] == "en"
