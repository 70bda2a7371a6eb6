import shlex

import pytest

from safemerge_tasks.cli._judge_options import parse_pairs
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings, judge_names, make_judge

JUDGES = {
    "chat",
    "deferred",
    "gpt-oss-safeguard",
    "granite-guardian",
    "harmbench",
    "keywords",
    "llama-guard-3",
    "llama-guard-4",
    "polyguard",
    "qwen3guard",
    "strongreject",
    "strongreject-finetuned",
    "usefulness",
    "wildguard",
}


def test_the_default_judge_is_wildguard() -> None:
    assert JudgeSettings.from_metadata({}, {}).name == "wildguard"


def test_metadata_wins_over_the_environment() -> None:
    environment = {"SAFEMERGE_JUDGE": "keywords", "SAFEMERGE_JUDGE_ENGINE": "hf", "HOME": "x"}
    settings = JudgeSettings.from_metadata({"judge": "wildguard", "pretrained": "m"}, environment)
    assert (settings.name, settings.engine) == ("wildguard", "hf")


def test_numbers_that_lm_eval_parsed_become_strings_again() -> None:
    assert JudgeSettings.from_metadata({"judge_revision": 1234567}, {}).revision == "1234567"


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(SafemergeError, match="judge_modell is not .* did you mean judge_model"):
        JudgeSettings.from_metadata({"judge_modell": "x"}, {})


def test_an_impossible_value_names_key_and_value() -> None:
    with pytest.raises(SafemergeError, match="judge_engine is 'gpu': .*vllm"):
        JudgeSettings.from_metadata({"judge_engine": "gpu"}, {})


def test_an_unknown_judge_lists_the_known() -> None:
    with pytest.raises(
        SafemergeError, match="choose from chat, deferred, gpt-oss-safeguard, granite-guardian"
    ):
        make_judge(JudgeSettings(name="oracle"))
    assert JUDGES.issubset(judge_names())


def test_arguments_round_trip() -> None:
    settings = JudgeSettings(name="wildguard", model="a folder/with spaces", batch_size=4)
    words = shlex.split(settings.as_arguments())
    assert words[:3] == ["--judge", "wildguard", "--metadata"]
    assert (
        JudgeSettings.from_metadata({"judge": words[1], **parse_pairs(words[3:])}, {}) == settings
    )


def test_a_prompt_for_a_judge_that_has_its_own_is_refused() -> None:
    with pytest.raises(SafemergeError, match="judge=keywords has a prompt of its own"):
        make_judge(JudgeSettings(name="keywords", prompt="rubric.txt"))


def test_a_setting_of_one_judges_own_wins_over_the_shared_one() -> None:
    metadata = {"judge_engine": "hf", "judge_model": "a", "judge_model.wildguard": "b"}
    settings = JudgeSettings.from_metadata({"judge": "wildguard", **metadata}, {})
    assert (settings.model, settings.engine) == ("b", "hf")
    assert JudgeSettings.from_metadata({"judge": "llama-guard-3", **metadata}, {}).model == "a"


def test_arguments_of_a_panel_round_trip() -> None:
    given = {"judge": "majority(wildguard,keywords)", "judge_model.wildguard": "a b"}
    settings = JudgeSettings.from_metadata(given, {})
    words = shlex.split(settings.as_arguments())
    again = JudgeSettings.from_metadata({"judge": words[1], **parse_pairs(words[3:])}, {})
    assert again == settings
