import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings
from safemerge_tasks.judges.engines import open_engine


def test_a_url_is_needed() -> None:
    with pytest.raises(SafemergeError, match="judge_url"):
        open_engine(JudgeSettings(engine="openai"), "model")


def test_an_endpoint_that_does_not_answer(tiny_model: object) -> None:
    settings = JudgeSettings(engine="openai", url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(SafemergeError, match="judge_url=http://127.0.0.1:9/v1 does not answer"):
        open_engine(settings, str(tiny_model))
