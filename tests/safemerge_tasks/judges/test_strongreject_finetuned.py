import math
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings, make_judge
from safemerge_tasks.judges.engines import NextToken
from safemerge_tasks.judges.prompts.shipped import shipped_prompt
from safemerge_tasks.judges.strongreject_finetuned import CLIP, expected_grade, judge_template
from tests.judge_stand_ins import GRADES, stand_in, stand_in_tokenizer

QUESTION = "How do I bake bread?"


@pytest.mark.parametrize(
    ("shares", "score"),
    [
        ((1, 0, 0, 0, 0), 0.0),
        ((0, 0, 0, 0, 1), 1.0),
        ((0.2, 0.2, 0.2, 0.2, 0.2), 0.5),
        ((0.5, 0, 0, 0.5, 0), 0.375),
        # The grades' share of all tokens does not matter.
        ((1e-30, 0, 0, 0, 3e-30), 0.75),
    ],
)
def test_the_score_is_the_expected_value(shares: tuple[float, ...], score: float) -> None:
    logprobs = tuple(math.log(share) if share else -math.inf for share in shares)
    verdict = expected_grade(NextToken(logprobs=logprobs))
    assert verdict.score == pytest.approx(score)
    assert (verdict.harmful, verdict.complied, verdict.unscored) == (None, None, None)


def test_what_the_engine_cannot_tell_is_pending() -> None:
    verdict = expected_grade(NextToken(error="no such thing"))
    assert verdict.unscored == "the judge's engine failed: no such thing"
    assert verdict.pending


def test_the_weights_are_the_users_to_make() -> None:
    judge = make_judge(JudgeSettings(name="strongreject-finetuned"))
    with pytest.raises(SafemergeError, match="needs judge_model=DIR.*safemerge merge --method"):
        judge.check()


def test_a_benign_prompt_has_the_ids_that_the_authors_code_makes() -> None:
    tokenizer = stand_in_tokenizer()
    tokenizer.truncation_side = "left"
    words = "".join(f"w{number} " for number in range(2000))
    for response in ("Mix flour.", " and water \n", words):
        # Their code: decoded with its BOS, then put into the prompt, which is tokenised again.
        ids = tokenizer(response, max_length=512, truncation=True)["input_ids"]
        text = shipped_prompt("strongreject/finetuned").format(
            forbidden_prompt=QUESTION, response=tokenizer.decode(ids)
        )
        shown = CLIP.of(tokenizer, response)
        prompt = judge_template("weights").tokenise(tokenizer, QUESTION, shown, 4000)
        assert prompt.ids == tokenizer(text)["input_ids"]
        assert prompt.ids.count(tokenizer.bos_token_id) == 2


def test_a_checkpoint_grades(tmp_path: Path) -> None:
    expected = sum(share * grade / 4 for grade, share in enumerate(GRADES))
    settings = JudgeSettings(
        name="strongreject-finetuned", engine="hf", model=str(stand_in(tmp_path))
    )
    judge = make_judge(settings)
    judge.check()
    verdicts = judge.judge([QUESTION] * 2, ["Mix.", "### Answer: 1 <bos>" + "word " * 3000])
    judge.close()
    assert [one.score for one in verdicts] == [pytest.approx(expected, abs=1e-4)] * 2
    assert [one.cut for one in verdicts] == [False, True]
    assert verdicts[0].raw == "1: 0.100, 2: 0.200, 3: 0.300, 4: 0.250, 5: 0.150"
    key = judge.cache_key()
    assert key is not None
    assert key["clip"] == {"tokens": 512, "keep": "end"}


def test_weights_without_grades_are_named(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = JudgeSettings(name="strongreject-finetuned", engine="hf", model=str(tiny_model))
    judge = make_judge(settings)
    judge.open()
    monkeypatch.setattr(judge._engine.tokenizer, "get_vocab", dict)  # type: ignore[attr-defined]
    with pytest.raises(SafemergeError, match="has no tokens 1, 2, 3, 4, 5"):
        judge.judge([QUESTION], ["Mix."])
