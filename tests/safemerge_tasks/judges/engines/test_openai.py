import json
import math
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges import JudgeSettings
from safemerge_tasks.judges.engines import NextToken, open_engine
from tests.scripted_endpoint import MODEL, Answer, fails, serve


def test_a_url_is_needed() -> None:
    with pytest.raises(SafemergeError, match="judge_url"):
        open_engine(JudgeSettings(engine="openai"), "model")


def test_an_endpoint_that_does_not_answer(tiny_model: object) -> None:
    settings = JudgeSettings(engine="openai", url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(SafemergeError, match="judge_url=http://127.0.0.1:9/v1 does not answer"):
        open_engine(settings, str(tiny_model))


def completion(logprobs: Any) -> Answer:
    choice = {"index": 0, "finish_reason": "length", "text": "x", "logprobs": logprobs}
    return Answer({"id": "1", "object": "text_completion", "created": 0, "model": MODEL,
                   "choices": [choice]})  # fmt: skip


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([{"token_id:{7}": -0.5, "token_id:{9}": -1.5, "token_id:3": -3.0}], (-0.5, -1.5)),
        # An endpoint that knows no token ids writes tokens as text, the likeliest alone.
        ([{"7": -0.5, "!": -4.0}], (-0.5, -math.inf)),
        ([{"?": -4.0}], None),
        ([], None),
        ([None], None),
        (None, None),
    ],
)
def test_weights_are_read_in_every_spelling(
    tiny_model: Path, listed: list[Any] | None, expected: tuple[float, float] | None
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokens = [tokenizer(digit)["input_ids"][0] for digit in ("7", "9")]
    text = json.dumps(listed).replace("{7}", str(tokens[0])).replace("{9}", str(tokens[1]))
    answer = completion({"top_logprobs": json.loads(text)})
    with serve(lambda *_: answer) as endpoint:
        engine = open_engine(JudgeSettings(engine="openai", url=endpoint.url), str(tiny_model))
        (found,) = engine.weigh([[5, 6]], tokens)
        engine.close()
    (request,) = endpoint.requests
    assert (request["prompt"], request["max_tokens"], request["logprobs"]) == ([5, 6], 1, 2)
    assert request["logprob_token_ids"] == tokens
    if expected is None:
        assert found == NextToken(error="the endpoint lists none of the judge's tokens")
    else:
        assert found == NextToken(logprobs=expected)


def test_a_request_that_fails_is_that_prompts_error(tiny_model: Path) -> None:
    with serve(lambda *_: fails(400, "no such field")) as endpoint:
        settings = JudgeSettings(engine="openai", url=endpoint.url, retries=0)
        engine = open_engine(settings, str(tiny_model))
        (weighed,), (answered,) = engine.weigh([[5]], [7]), engine.answer([[5]], 3)
        engine.close()
    assert "no such field" in (weighed.error or "")
    assert weighed.logprobs is None
    assert "no such field" in (answered.error or "")
