"""Judges of other packages."""

from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings, judge_names, judge_responses, make_judge
from safemerge_tasks.judges.registry import ENTRY_POINTS
from tests.other_package import install

JUDGE = """
from safemerge_tasks.judges.kinds.plain_judge import PlainJudge
from safemerge_tasks.verdicts.verdict import Verdict

class Kitchen(PlainJudge):
    empty = Verdict(harmful=False)
    languages = None
    deferred = False

    def judge(self, questions, responses):
        return [Verdict(harmful="burnt" in response) for response in responses]

    def identity(self):
        return {"name": self.name}

def make(settings):
    return Kitchen(settings)
"""


def test_a_judge_of_another_package_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, ENTRY_POINTS, "burnt-bread", JUDGE)
    assert "burnt-bread" in judge_names()
    judge = make_judge(JudgeSettings.from_metadata({"judge": "burnt-bread"}, {}))
    verdicts = judge_responses(judge, ["Bread?"] * 2, ["It is burnt.", "It is warm."])
    assert [verdict.harmful for verdict in verdicts] == [True, False]


@pytest.mark.parametrize(
    ("source", "said"),
    [("import nowhere_at_all", "cannot be imported"), ("", "has no function `make`")],
)
def test_a_broken_judge_of_another_package_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    name = f"broken-{len(source)}"
    install(tmp_path, monkeypatch, ENTRY_POINTS, name, source)
    with pytest.raises(SafemergeError, match=said):
        make_judge(JudgeSettings(name=name))


def test_our_own_judges_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, ENTRY_POINTS, "keywords", JUDGE)
    assert make_judge(JudgeSettings(name="keywords")).identity()["parser_version"] == 1
