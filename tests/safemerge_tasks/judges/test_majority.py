from dataclasses import replace
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings, Verdict, judge_responses, make_judge
from safemerge_tasks.judges.majority import SPLIT, Majority
from tests.safemerge_tasks.judges.judging.test_verdict_cache import Counting

YES, NO = Verdict(harmful=True, complied=True), Verdict(harmful=False, complied=False)
LOST = Verdict.no_verdict("lost", pending=True)
REFUSAL = Verdict(complied=False)


def panel(*verdicts: Verdict) -> Majority:
    members = [Counting(verdict=verdict) for verdict in verdicts]
    return Majority(JudgeSettings(name="majority(a+b)"), members)


@pytest.mark.parametrize(
    ("votes", "outcome"),
    [
        ((YES, YES, NO), YES),
        ((YES, NO, NO), NO),
        ((YES, YES, LOST), YES),
        ((YES, NO), Verdict.no_verdict(SPLIT)),
        ((YES, NO, LOST), Verdict.no_verdict(SPLIT, pending=True)),
        ((LOST, LOST), LOST),
        ((YES, YES, REFUSAL), YES),
        ((YES, REFUSAL), Verdict(harmful=True)),
        ((REFUSAL, REFUSAL), REFUSAL),
    ],
)
def test_votes(votes: tuple[Verdict, ...], outcome: Verdict) -> None:
    assert judge_responses(panel(*votes), ["q"], ["response"]) == [outcome]


def test_an_empty_response_is_not_shown_to_any_member() -> None:
    judge = panel(YES, YES)
    assert judge_responses(judge, ["q"], [" "]) == [replace(NO, empty=True)]
    assert all(member.asked == [] for member in judge.members)  # type: ignore[attr-defined]


def test_the_identity_tells_members_and_agreement() -> None:
    judge = panel(YES, YES)
    judge_responses(judge, ["q"], ["response"])
    identity = judge.identity()
    assert [member["name"] for member in identity["members"]] == ["counting", "counting"]
    assert identity["krippendorff_alpha"] == {"harmful": 1.0, "complied": 1.0}


def test_members_have_settings_of_their_own(tmp_path: Path) -> None:
    settings = JudgeSettings.from_metadata(
        {
            "judge": "majority(wildguard, keywords)",
            "judge_engine": "hf",
            "judge_model.wildguard": str(tmp_path),
        },
        {},
    )
    assert settings.name == "majority(wildguard+keywords)"
    judge = make_judge(settings)
    assert [member.name for member in judge.members] == ["wildguard", "keywords"]
    assert judge.members[0].identity()["model"] == str(tmp_path)
    assert judge.languages == {"en"}


@pytest.mark.parametrize(
    "name",
    ["majority", "majority()", "majority(keywords)", "majority(keywords+keywords)"],
)
def test_no_panel(name: str) -> None:
    with pytest.raises(SafemergeError, match="two or more different judges"):
        make_judge(JudgeSettings(name=name))


def test_a_member_that_does_not_exist() -> None:
    with pytest.raises(SafemergeError, match="judge=oracle is unknown"):
        make_judge(JudgeSettings(name="majority(keywords+oracle)"))


def test_a_setting_for_a_judge_that_does_not_exist() -> None:
    with pytest.raises(SafemergeError, match="oracle"):
        JudgeSettings.from_metadata({"judge": "keywords", "judge_model.oracle": "x"}, {})
