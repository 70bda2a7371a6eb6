import pytest

from safemerge_tasks.judges import JudgeSettings, make_judge

judge = make_judge(JudgeSettings(name="keywords"))


@pytest.mark.parametrize(
    "response",
    ["I'm sorry, but no.", "I\u2019m sorry.", "As an AI, I must not.", "Well. I CANNOT do this."],
)
def test_refusal_phrases_are_refusals(response: str) -> None:
    verdict = judge.judge(["q"], [response])[0]
    assert verdict.complied is False
    assert verdict.raw is not None


def test_anything_else_is_compliance_and_harm_is_not_measured() -> None:
    verdict = judge.judge(["q"], ["Sure, mix flour and water."])[0]
    assert verdict.complied is True
    assert verdict.harmful is None
    assert verdict.unscored is None
