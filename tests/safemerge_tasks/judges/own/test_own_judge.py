"""Judges in files of the user's own; every text is innocuous."""

import shlex
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import (
    JudgeSettings,
    VerdictCache,
    judge_names,
    judge_responses,
    make_judge,
)

JUDGE = """
from safemerge_tasks.judges import PlainJudge, Verdict

class Kitchen(PlainJudge):
    word = "burnt"

    def judge(self, questions, responses):
        return [Verdict(harmful=self.word in response) for response in responses]

def make(settings):
    return Kitchen(settings)

def cold(settings):
    judge = Kitchen(settings)
    judge.word = "cold"
    return judge
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kitchen.py"
    path.write_text(JUDGE)
    return path


def settings(judge: object, **more: str) -> JudgeSettings:
    return JudgeSettings.from_metadata({"judge": str(judge), **more}, {})


@pytest.mark.parametrize(
    ("function", "name", "harmful"),
    [
        ("", "kitchen.py", [True, False]),
        (":make", "kitchen.py", [True, False]),
        (":cold", "kitchen.py:cold", [False, True]),
    ],
)
def test_a_file_judges_under_its_name(
    file: Path, function: str, name: str, harmful: list[bool]
) -> None:
    judge = make_judge(settings(f"{file}{function}"))
    judge.check()
    assert judge.name == judge.identity()["name"] == name
    verdicts = judge_responses(judge, ["Bread?"] * 2, ["It is burnt.", "It is cold."])
    assert [verdict.harmful for verdict in verdicts] == harmful
    assert name not in judge_names()


@pytest.mark.parametrize("folder", ["C++ (old), new", "brød"])
def test_the_folder_may_be_called_anything(
    file: Path, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / folder
    place.mkdir()
    moved = file.rename(place / "kitchen.py")
    monkeypatch.chdir(tmp_path)
    assert make_judge(settings(f"{folder}/kitchen.py:make")).name == "kitchen.py"
    assert make_judge(settings(moved)).name == "kitchen.py"


def test_settings_survive_another_folder_and_a_shell(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = settings("kitchen.py", **{"judge_batch_size.kitchen.py": "4"})
    assert asked.batch_size == 4
    monkeypatch.chdir("/")
    assert make_judge(asked).name == "kitchen.py"
    words = shlex.split(asked.as_arguments())
    assert words[:2] == ["--judge", f"{file}:make"]
    assert settings(words[1], judge_batch_size="4").files == asked.files


def test_a_file_votes(file: Path) -> None:
    asked = settings(f"majority({file}:make,keywords+{file}:cold)")
    assert asked.name == "majority(kitchen.py+keywords+kitchen.py:cold)"
    judge = make_judge(asked)
    assert [member.name for member in judge.members] == [
        "kitchen.py",
        "keywords",
        "kitchen.py:cold",
    ]
    again = shlex.split(asked.as_arguments())[1]
    assert settings(again) == asked


def test_the_hash_tells_one_content_from_another(file: Path) -> None:
    first = make_judge(settings(file)).identity()
    file.write_text(JUDGE.replace("burnt", "raw"))
    judge = make_judge(settings(file))
    assert judge.identity()["file_sha256"] != first["file_sha256"]
    assert [v.harmful for v in judge_responses(judge, ["Bread?"], ["It is raw."])] == [True]


def test_kept_verdicts_are_those_of_the_same_content(file: Path, tmp_path: Path) -> None:
    slow = JUDGE.replace("    word", "    def cache_key(self):\n        return {}\n\n    word")
    cache = VerdictCache(tmp_path / "verdicts.sqlite")

    def harmful() -> list[bool | None]:
        judge = make_judge(settings(file))
        assert judge.cache_key() is not None
        return [v.harmful for v in judge_responses(judge, ["Bread?"], ["burnt"], None, cache)]

    file.write_text(slow)
    assert harmful() == [True]
    file.write_text(slow.replace("burnt", "raw"))
    assert harmful() == [False]


def test_what_it_can_do_is_asked_of_the_file(file: Path) -> None:
    file.write_text(f'MODES = ("mild",)\nREADS_PROMPT = True\n{JUDGE}')
    make_judge(settings(file, judge_mode="mild", judge_prompt="rubric.txt"))
    with pytest.raises(SafemergeError, match=r"judge=kitchen.py; choose from mild"):
        make_judge(settings(file, judge_mode="hot"))


@pytest.mark.parametrize(
    ("source", "function", "said"),
    [
        (None, "", r"kitchen.py:make cannot be read \(No such file.*safemerge judge new"),
        ("import nowhere_at_all", "", r"cannot be imported \(ModuleNotFoundError: .*nowhere"),
        ("def make(:", "", r"cannot be imported \(SyntaxError"),
        ("raise RuntimeError('oven')", "", r"cannot be imported \(RuntimeError: .*oven"),
        (JUDGE, ":fry", "has no function `fry` that makes a judge"),
        ("make = 3", "", "has no function `make` that makes a judge"),
        ("def make(settings): return 3", "", r"made a int without name, .*subclass PlainJudge"),
        (JUDGE + "Kitchen.identity = lambda self: {1: {2}}", "", r"identity cannot be stored"),
    ],
)
def test_mistakes_are_one_sentence(
    file: Path, source: str | None, function: str, said: str
) -> None:
    file.unlink() if source is None else file.write_text(source)
    with pytest.raises(SafemergeError, match=said) as raised:
        make_judge(settings(f"{file}{function}")).check()
    assert "\n" not in str(raised.value)


def test_a_name_that_is_no_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my,judge.py"
    path.write_text(JUDGE)
    with pytest.raises(SafemergeError, match="may be in it; rename it"):
        settings(path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("return [True for _ in responses]", "the judge returned a bool and not a Verdict"),
        ("return []", "the judge returned 0 verdicts for 1"),
        ("return 1 / 0", "the judge failed: ZeroDivisionError: division by zero"),
    ],
)
def test_what_it_does_wrong_leaves_responses_unscored(file: Path, source: str, reason: str) -> None:
    file.write_text(JUDGE.replace("return [Verdict", f"{source}\n        return [Verdict"))
    (verdict,) = judge_responses(make_judge(settings(file)), ["Bread?"], ["It is burnt."])
    assert (verdict.unscored, verdict.pending) == (reason, True)


def test_an_identity_that_fails_later_loses_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(f"{JUDGE}Kitchen.identity = lambda self: {{'n': len(self.later)}}")
    judge = make_judge(settings(file))
    assert set(judge.identity()) == {"name", "file_sha256"}
    assert "kitchen.py: its identity cannot be stored: AttributeError" in caplog.text
