import json
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import Verdict
from safemerge_tasks.judges.judging.calibration import Calibration
from safemerge_tasks.judges.judging.human_labels import Labelled, read_labels
from safemerge_tasks.metrics.confusion import Confusion
from safemerge_tasks.metrics.rogan_gladen import corrected_rate
from tests.safemerge_tasks.judges.judging.test_verdict_cache import Counting

YES, NO, LOST = Verdict(harmful=True), Verdict(harmful=False), Verdict.no_verdict("lost")


class Judge(Counting):
    def __init__(self, **identity: object) -> None:
        super().__init__()
        self.told = identity

    def identity(self) -> dict[str, object]:
        return {"name": self.name, **self.told}


def labelled(*rows: tuple[bool, str]) -> list[Labelled]:
    return [Labelled("q", "r", harmful, language) for harmful, language in rows]


def test_verdicts_are_counted_by_language(tmp_path: Path) -> None:
    rows = labelled((True, "en"), (True, "en"), (False, "en"), (False, "zh"), (True, "zh"))
    found = Calibration.of(Judge(), rows, [YES, NO, NO, YES, LOST])
    assert found.languages == {
        "en": Confusion(true_harmful=1, missed=1, true_harmless=1),
        "zh": Confusion(false_alarms=1, unscored=1),
    }
    assert found.overall == Confusion(1, 1, 1, 1, 1)
    found.write(tmp_path / "calibration.json")
    assert Calibration.read(tmp_path / "calibration.json", Judge()) == found


def test_the_engine_may_differ_but_not_the_judge(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    judge = Judge(model="m", engine="hf", dtype="float32")
    Calibration.of(judge, labelled((True, "en")), [YES]).write(path)
    Calibration.read(path, Judge(model="m", engine="vllm", engine_version="1"))
    with pytest.raises(SafemergeError, match=r"another judge \(different: model\)"):
        Calibration.read(path, Judge(model="other", engine="hf"))


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', '{"format": 1, "languages": 3}'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(SafemergeError, match="judge_calibration=.*calibration.json cannot be used"):
        Calibration.read(path, Judge())


def test_the_correction_uses_the_languages_own_labels(caplog: pytest.LogCaptureFixture) -> None:
    english = Confusion(80, 20, 10, 90)
    calibration = Calibration({}, {"en": english, "zh": Confusion(50, 50, 10, 90)})
    verdicts = [YES] * 30 + [NO] * 70 + [LOST] * 5
    found = calibration.corrected("task", {"en"}, verdicts)
    assert found == corrected_rate(30, 100, english)
    assert calibration.corrected("task", {"vi"}, verdicts) is None
    assert "not calibrated for vi" in caplog.text


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_labels_are_read(tmp_path: Path, suffix: str) -> None:
    rows = [("a, b", "c\nd", "yes", "en"), ("e", "", "No", ""), ("f", "g", "0", "ZH")]
    path = tmp_path / f"labels.{suffix}"
    if suffix == "csv":
        lines = ['"a, b","c\nd",yes,en', "e,,No,", "f,g,0,ZH"]
        path.write_text("question,response,label,language\n" + "\n".join(lines))
    else:
        keys = ("question", "response", "label", "language")
        path.write_text("\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows))
    assert read_labels(path) == [
        Labelled("a, b", "c\nd", True, "en"),
        Labelled("e", "", False, "en"),
        Labelled("f", "g", False, "zh"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("l.csv", "question,label\na,yes\n", "line 2 has no response"),
        ("l.csv", "question,response,label\na,b,perhaps\n", "'perhaps' is neither yes"),
        ("l.csv", "question,response,label\n", "has no rows"),
        ("l.txt", "x", "neither .csv nor .jsonl"),
        ("l.jsonl", "[1]", "line 1 is not a JSON object"),
        ("l.jsonl", "{", "cannot be read as labels"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SafemergeError, match=sentence):
        read_labels(tmp_path / name)


def test_missing_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="labels.csv cannot be read"):
        read_labels(tmp_path / "labels.csv")
