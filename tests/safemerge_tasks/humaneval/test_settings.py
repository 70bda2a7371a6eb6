import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.humaneval.settings import HumanEvalSettings


def test_defaults_are_the_papers() -> None:
    settings = HumanEvalSettings.from_metadata({"version": 1.0, "judge": "wildguard"})
    assert (settings.samples, settings.timeout, settings.sandbox) == (50, 3.0, "namespaces")
    assert settings.for_sandbox().isolated


def test_lm_eval_reads_none_as_nothing() -> None:
    settings = HumanEvalSettings.from_metadata({"sandbox": None, "humaneval_samples": 10})
    assert settings.sandbox == "none"
    assert settings.samples == 10
    assert not settings.for_sandbox().isolated


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"humaneval_sampels": 10}, r"did you mean humaneval_samples\?"),
        ({"humaneval_sandbx": "none"}, r"did you mean sandbox\?"),
        ({"humaneval_x": 10}, "known are humaneval_samples, .*, sandbox; correct or remove it"),
        (
            {"humaneval_samples": 5},
            "humaneval_samples is '5': Input should be greater than or equal",
        ),
        ({"humaneval_timeout": "soon"}, "humaneval_timeout is 'soon': "),
        ({"sandbox": "docker"}, "sandbox is 'docker': Input should be 'namespaces' or 'none'"),
    ],
)
def test_bad_settings_are_one_sentence(metadata: dict[str, object], sentence: str) -> None:
    with pytest.raises(SafemergeError, match=sentence):
        HumanEvalSettings.from_metadata(metadata)


def test_the_environment_sets_anything_but_the_sandbox() -> None:
    environment = {"SAFEMERGE_HUMANEVAL_SAMPLES": "20", "SAFEMERGE_SANDBOX": "none"}
    settings = HumanEvalSettings.from_metadata({"humaneval_timeout": 5}, environment)
    assert (settings.samples, settings.timeout) == (20, 5.0)
    assert settings.sandbox == "namespaces"
