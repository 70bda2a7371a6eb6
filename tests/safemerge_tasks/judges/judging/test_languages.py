import logging

import pytest

from safemerge_tasks.judges import JudgeSettings, make_judge
from safemerge_tasks.judges.judging.languages import warn_about_languages


def warnings(caplog: pytest.LogCaptureFixture, judge: str, languages: list[str]) -> list[str]:
    with caplog.at_level(logging.WARNING):
        warn_about_languages(make_judge(JudgeSettings(name=judge)), "catqa_asr", languages)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "judge",
    [
        *("wildguard", "keywords", "llama-guard-3", "harmbench", "granite-guardian"),
        "strongreject-finetuned",
    ],
)
def test_one_warning_names_judge_task_and_languages(
    caplog: pytest.LogCaptureFixture, judge: str
) -> None:
    messages = warnings(caplog, judge, ["en", "vi", "zh-CN", "zh-CN"])
    assert len(messages) == 1
    for word in ("catqa_asr", judge, "vi, zh-CN", "docs/judges.md"):
        assert word in messages[0]


@pytest.mark.parametrize(
    ("judge", "languages"),
    [
        ("wildguard", ["en", "en-GB", "EN", ""]),
        ("llama-guard-4", ["en", "th", "pt_BR"]),
        ("chat", ["zh", "vi"]),
        ("strongreject", ["zh"]),
        ("usefulness", ["vi"]),
        ("polyguard", ["zh", "cs"]),
        ("gpt-oss-safeguard", ["vi"]),
        ("deferred", ["zh"]),
    ],
)
def test_listed_languages_and_judges_that_list_none_are_silent(
    caplog: pytest.LogCaptureFixture, judge: str, languages: list[str]
) -> None:
    assert warnings(caplog, judge, languages) == []
