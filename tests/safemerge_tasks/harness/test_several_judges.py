"""Several judges in one evaluation: a row each, one engine at a time, each started once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.harness import harmful_questions
from safemerge_tasks.judges import JudgeSettings, PlainJudge, Verdict, make_judge
from safemerge_tasks.judges.judging.calibration import Calibration
from safemerge_tasks.judges.judging.saved_results import judge_folder
from safemerge_tasks.metrics.confusion import Confusion
from safemerge_tasks.results import Run, find_runs
from tests.safemerge_tasks.harness.test_harmful_questions import kitchens, run, suite

__all__ = ["kitchens", "suite"]  # fixtures

WORDS = {"wildguard": "flour", "qwen3guard": "water", "third": "knead"}


class Engine(PlainJudge):
    """Stands in for a judge with an engine; calls a response with its word harmful."""

    empty = Verdict(harmful=False, complied=False)
    uses_accelerator = True
    log: ClassVar[list[str]] = []

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__(settings)
        self.languages = frozenset({"en"}) if self.name == "wildguard" else None
        self.running = False

    def open(self) -> None:
        if not self.running:
            Engine.log.append(f"{self.name} starts")
        self.running = True

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        Engine.log.append(f"{self.name} judges {len(responses)}")
        word = WORDS[self.name]
        return [Verdict(harmful=word in text.lower(), complied=True) for text in responses]

    def close(self) -> None:
        if self.running:
            Engine.log.append(f"{self.name} stops")
        self.running = False


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return what engines do, in order."""
    real = make_judge

    def make(settings: JudgeSettings) -> Any:
        return Engine(settings) if settings.name in WORDS else real(settings)

    monkeypatch.setattr(harmful_questions, "make_judge", make)
    for place in ("judging.saved_results", "judging.by_language", "majority"):
        monkeypatch.setattr(f"safemerge_tasks.judges.{place}.make_judge", make)
    harmful_questions._shared_judge.cache_clear()
    Engine.log = []
    yield Engine.log
    harmful_questions._shared_judge.cache_clear()


def saved(output: Path) -> Run:
    (found,) = [run for run in find_runs(output) if not run.only_saved]
    return found


def languages(kitchens: Path, **by_task: str) -> None:
    for task, language in by_task.items():
        file = kitchens / f"{task}_asr.yaml"
        file.write_text(file.read_text().replace("{suite:", f"{{language: {language}, suite:"))


def test_two_judges_over_two_tasks_start_once_each(kitchens: Path, log: list[str]) -> None:
    found = run(kitchens, task="cooking", metadata={"judge": "wildguard+qwen3guard"})
    assert log == [
        *("wildguard starts", "wildguard judges 4", "wildguard judges 2", "wildguard stops"),
        *("qwen3guard starts", "qwen3guard judges 4", "qwen3guard judges 2", "qwen3guard stops"),
    ]
    row = found["results"]["kitchen_asr"]
    assert (row["asr,wildguard"], row["asr,qwen3guard"]) == (1 / 5, 1 / 5)
    assert (row["asr[Bread],wildguard"], row["asr[Bread],qwen3guard"]) == (1 / 3, 0.0)
    assert found["groups"]["cooking"]["asr,qwen3guard"] == 1 / 10
    ours = found["configs"]["pantry_asr"]["metadata"]["safemerge"]
    assert [judge["name"] for judge in ours["judges"]] == ["wildguard", "qwen3guard"]
    assert ours["counts"]["wildguard"]["asr"] == {"harmful": 1, "scored": 3, "total": 3}
    assert ours["counts"]["qwen3guard"]["asr"] == {"harmful": 0, "scored": 3, "total": 3}


def test_what_they_said_is_saved_and_judged_again(kitchens: Path, tmp_path: Path) -> None:
    at_once = run(kitchens, tmp_path / "out", "cooking", metadata={"judge": "wildguard+keywords"})
    run_ = saved(tmp_path / "out")
    filters = [row["filter"] for row in run_.rows("kitchen_asr")]
    assert filters == ["wildguard"] * 6 + ["keywords"] * 6
    both = judge_folder(tmp_path / "out", JudgeSettings(name="wildguard+keywords"))
    assert [one.judge for one in both] == ["wildguard", "keywords"]
    again = run_.summary()["results"]["kitchen_asr"]
    before = {k: v for k, v in at_once["results"]["kitchen_asr"].items() if "," in k}
    assert {k: again[k] for k in before} == pytest.approx(before)


def test_only_a_calibrated_judges_rate_is_corrected(suite: Path, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    counts = Confusion(true_harmful=90, missed=10, false_alarms=5, true_harmless=95)
    Calibration({"name": "qwen3guard"}, {"en": counts}).write(path)
    metadata = {
        "judge": "wildguard+qwen3guard",
        "judge_calibration.qwen3guard": str(path),
    }
    found = run(suite, metadata=metadata)
    row = found["results"]["kitchen_asr"]
    assert row["asr_corrected,qwen3guard"] == pytest.approx((0.2 + 0.95 - 1) / (0.9 + 0.95 - 1))
    assert "asr_corrected,wildguard" not in row
    ours = found["configs"]["kitchen_asr"]["metadata"]["safemerge"]
    assert set(ours["asr_corrected"]) == {"qwen3guard"}


def test_members_of_a_vote_beside_another_judge(suite: Path, log: list[str]) -> None:
    name = "third+majority(wildguard+qwen3guard+third)"
    row = run(suite, metadata={"judge": name})["results"]["kitchen_asr"]
    assert {"asr,third", "asr,majority(wildguard+qwen3guard+third)"} <= set(row)
    running: set[str] = set()
    for line in log:
        judge, does = line.split()[:2]
        if does != "judges":
            running ^= {judge}
        assert len(running) <= 1, log


@pytest.mark.parametrize("name", ["wildguard+wildguard", "+"])
def test_names_that_are_no_two_judges(suite: Path, name: str) -> None:
    with pytest.raises(SafemergeError, match="name each judge once"):
        run(suite, metadata={"judge": name})


def test_auto_chooses_by_language(kitchens: Path, log: list[str], tmp_path: Path) -> None:
    languages(kitchens, pantry="vi")
    found = run(kitchens, tmp_path / "out", "cooking", metadata={"judge": "auto"})
    assert log == [
        *("wildguard starts", "wildguard judges 4", "wildguard stops"),
        *("qwen3guard starts", "qwen3guard judges 2", "qwen3guard stops"),
    ]
    assert "asr,wildguard" in found["results"]["kitchen_asr"]
    assert "asr,qwen3guard" in found["results"]["pantry_asr"]
    assert not any(key.endswith(",qwen3guard") for key in found["results"]["kitchen_asr"])
    judges = found["configs"]["pantry_asr"]["metadata"]["safemerge"]["judges"]
    assert [judge["name"] for judge in judges] == ["qwen3guard"]


def test_auto_chooses_alike_for_saved_responses(
    kitchens: Path, log: list[str], tmp_path: Path
) -> None:
    languages(kitchens, kitchen="zh-CN", pantry="en-GB")
    run(kitchens, tmp_path / "out", "cooking", metadata={"judge": "deferred"})
    judged = judge_folder(tmp_path / "out/table", JudgeSettings(name="auto"))
    assert {one.judge: next(iter(one.tables.values())).keys() for one in judged} == {
        "qwen3guard": {"kitchen_asr"},
        "wildguard": {"pantry_asr"},
    }
    results = saved(tmp_path / "out").summary()["results"]
    assert "asr,qwen3guard" in results["kitchen_asr"]
    assert "asr,wildguard" in results["pantry_asr"]
    # Nor has the group, which has no rate of one judge.
    assert not any("deferred" in key for row in results.values() for key in row)
    assert not any("," in key for key in results["cooking"])


def test_auto_beside_one_it_chooses_is_that_one(suite: Path, log: list[str]) -> None:
    row = run(suite, metadata={"judge": "auto+wildguard"})["results"]["kitchen_asr"]
    assert "asr,wildguard" in row
    assert log.count("wildguard starts") == 1
    assert log.count("wildguard judges 4") == 1


def test_settings_of_one_of_autos_judges(tmp_path: Path) -> None:
    from safemerge_tasks.judges.judging.by_language import judges_for, judges_whatever

    given = {"judge": "auto", "judge_engine": "hf", "judge_model.qwen3guard": "q"}
    asked = JudgeSettings.from_metadata(given, {})
    (english,), (other,) = judges_for(asked, ["en"]), judges_for(asked, ["en", "vi"])
    assert (english.name, english.engine, english.model) == ("wildguard", "hf", None)
    assert (other.name, other.engine, other.model) == ("qwen3guard", "hf", "q")
    assert [one.name for one in judges_whatever(asked)] == ["wildguard", "qwen3guard"]


@pytest.mark.parametrize("name", ["auto", "majority(auto+keywords)"])
def test_auto_is_no_judge_by_itself(name: str) -> None:
    with pytest.raises(SafemergeError, match="judge=auto chooses between wildguard and qwen3guard"):
        make_judge(JudgeSettings(name=name))
