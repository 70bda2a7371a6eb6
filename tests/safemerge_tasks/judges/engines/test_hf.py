from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings
from safemerge_tasks.judges.engines import open_engine
from safemerge_tasks.judges.engines.weights import check_weights


def test_answers_do_not_depend_on_the_batch(tiny_model: Path) -> None:
    prompts = [[5, 6, 7], [8] * 40, [9, 10], [11, 12, 13, 14]]
    answers = []
    for size in (1, 3):
        engine = open_engine(JudgeSettings(engine="hf", batch_size=size), str(tiny_model))
        answers.append([answer.text for answer in engine.answer(prompts, 8)])
        engine.close()
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == len(prompts)


def test_weights_do_not_depend_on_the_batch_and_are_the_models_own(tiny_model: Path) -> None:
    prompts, tokens = [[5, 6, 7], [8] * 40, [9, 10], [11, 12, 13, 14]], [20, 3, 7]
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        logits = [model(torch.tensor([prompt])).logits[0, -1] for prompt in prompts]
    expected = [one.log_softmax(-1)[tokens].tolist() for one in logits]
    for size in (1, 3):
        engine = open_engine(JudgeSettings(engine="hf", batch_size=size), str(tiny_model))
        found = engine.weigh(prompts, tokens)
        engine.close()
        assert [one.logprobs for one in found] == [pytest.approx(one, abs=1e-4) for one in expected]


def test_identity_names_weights_and_version(tiny_model: Path) -> None:
    engine = open_engine(JudgeSettings(engine="hf", max_model_len=4096), str(tiny_model))
    identity = engine.identity()
    assert identity["engine"] == "hf"
    assert identity["model"] == str(tiny_model)
    assert identity["engine_version"]
    assert engine.max_model_len == 2048


def test_a_closed_engine_gives_no_text(tiny_model: Path) -> None:
    engine = open_engine(JudgeSettings(engine="hf"), str(tiny_model))
    engine.close()
    assert engine.answer([[5, 6]], 8)[0].text is None
    assert engine.weigh([[5, 6]], [7])[0].logprobs is None


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    check_weights.cache_clear()
    with pytest.raises(SafemergeError, match="no config.json"):
        check_weights(str(tmp_path), None)
    with pytest.raises(SafemergeError, match="does not exist"):
        check_weights(str(tmp_path / "absent"), None)
    with pytest.raises(SafemergeError, match="neither a folder nor a model on the Hub"):
        check_weights("not a valid id!", None)
