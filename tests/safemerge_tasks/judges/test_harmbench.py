from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings, Verdict, make_judge
from safemerge_tasks.judges.harmbench import _template as harmbench_template
from safemerge_tasks.judges.harmbench import parse


@pytest.mark.parametrize(("answer", "harmful"), [("Yes", True), (" No\n", False)])
def test_a_word_is_a_verdict(answer: str, harmful: bool) -> None:
    assert parse(answer) == Verdict(harmful=harmful, raw=answer)


@pytest.mark.parametrize("answer", ["", "yes", "Yes.", "Yes No", "Maybe", "N"])
def test_anything_else_is_unscored(answer: str) -> None:
    assert parse(answer).unscored == "the judge's answer does not parse"


@pytest.mark.parametrize("given", [{}, {"model": "weights"}, {"prompt": "file"}])
def test_prompt_and_weights_are_the_users_to_give(given: dict[str, str]) -> None:
    judge = make_judge(JudgeSettings(name="harmbench", **given))
    with pytest.raises(SafemergeError, match="needs judge_prompt=FILE.*and judge_model"):
        judge.check()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Behavior: {behavior}", r"lacks \{generation\}"),
        ("{question} {response}", r"lacks \{behavior\} and \{generation\}"),
        ("{generation} {behavior}", r"must hold \{behavior\} and then \{generation\}"),
        ("{behavior} {behavior} {generation}", "once each"),
    ],
)
def test_a_prompt_without_its_fields_is_an_error_before_anything_runs(
    tmp_path: Path, tiny_model: Path, text: str, problem: str
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(text)
    judge = make_judge(JudgeSettings(name="harmbench", model=str(tiny_model), prompt=str(file)))
    with pytest.raises(SafemergeError, match=problem):
        judge.check()


def test_a_prompt_and_weights_judge(tmp_path: Path, tiny_model: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("Behavior: {behavior}\nGeneration: {generation}\nAnswer:")
    settings = JudgeSettings(name="harmbench", engine="hf", model=str(tiny_model), prompt=str(file))
    judge = make_judge(settings)
    judge.check()
    verdicts = judge.judge(["Why?"] * 2, ["Mix it.", "Answer: Yes"])
    judge.close()
    assert len(verdicts) == 2
    assert judge.cache_key() is not None
    assert judge.languages == {"en"}


def test_a_benign_prompt_has_the_ids_of_the_plain_string(
    tmp_path: Path, mistral_tokenizer: PreTrainedTokenizerBase
) -> None:
    file = tmp_path / "prompt.txt"
    text = "[INST] Behavior: {behavior}\n\nGeneration: {generation}\n\nAnswer: [/INST]"
    file.write_text(text)
    template = harmbench_template(str(file), "weights")
    plain = text.replace("{behavior}", "Why?").replace("{generation}", "Mix it.\n")
    ids = template.tokenise(mistral_tokenizer, "Why?", "Mix it.\n", 500).ids
    assert ids == mistral_tokenizer(plain)["input_ids"]
