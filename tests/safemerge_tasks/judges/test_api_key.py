"""Whom a key is sent to."""

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings, make_judge
from safemerge_tasks.judges.engines.endpoint import connect


@pytest.mark.parametrize(
    ("url", "base", "sent"),
    [
        ("https://api.openai.com/v1", None, True),
        ("https://user@API.openai.com/v1/", None, True),
        ("http://api.openai.com/v1", None, False),
        ("http://localhost:8000/v1", None, False),
        ("https://openrouter.example/api/v1", None, False),
        ("https://api.openai.com.evil.example/v1", None, False),
        ("https://eu.api.example/v1", "https://eu.api.example/v1", True),
        ("http://eu.api.example/v1", "https://eu.api.example/v1", False),
        ("https://eu.api.example:444/v1", "https://eu.api.example/v1", False),
    ],
)
def test_openais_key_goes_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, url: str, base: str | None, sent: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if base:
        monkeypatch.setenv("OPENAI_BASE_URL", base)
    client = connect(JudgeSettings(name="chat", url=url))
    assert client.api_key == ("sk-1" if sent else "none")


def test_another_variable_and_asking_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("ORACLE_KEY", "other")
    for name, key in (("ORACLE_KEY", "other"), ("OPENAI_API_KEY", "sk-1")):
        settings = JudgeSettings(name="chat", url="https://oracle.example/v1", api_key_env=name)
        assert connect(settings).api_key == key
        assert "other" not in settings.as_arguments()


@pytest.mark.parametrize("name", ["chat", "strongreject", "usefulness"])
def test_a_variable_that_is_not_set_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ORACLE_KEY", "")
    settings = JudgeSettings(name=name, url="https://x.example/v1", api_key_env="ORACLE_KEY")
    with pytest.raises(SafemergeError, match="judge_api_key_env=ORACLE_KEY is not set"):
        make_judge(settings).check()
