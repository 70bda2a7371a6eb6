"""Judge models behind an OpenAI-compatible completions endpoint, such as `vllm serve`."""

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from openai import OpenAIError
from transformers import AutoTokenizer

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.judges.engines.base import Completion, NextToken
from safemerge_tasks.judges.engines.endpoint import connect, find_served
from safemerge_tasks.judges.settings import JudgeSettings

_T = TypeVar("_T")


def open_engine(settings: JudgeSettings, model: str) -> "OpenAIEngine":
    """Connect to `judge_url` and find the served model.

    Raises:
        SafemergeError: no URL, no answer, or the model is not served there.
    """
    if settings.url is None:
        raise SafemergeError(
            "judge_engine=openai needs judge_url, the base URL of an OpenAI-compatible endpoint "
            "(for a local `vllm serve`: judge_url=http://localhost:8000/v1)."
        )
    return OpenAIEngine(settings, model)


class OpenAIEngine:
    """Concurrent greedy completions; the client retries with exponential back-off.

    The tokenizer is loaded here, because prompts are sent as token ids: an endpoint that
    tokenised text itself would turn control strings in a response into control tokens.
    """

    def __init__(self, settings: JudgeSettings, model: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model, revision=settings.revision)
        self.max_model_len = settings.max_model_len
        self._client = connect(settings)
        self._concurrency = settings.concurrency
        self._abort = threading.Event()
        self._served = find_served(self._client, settings, model)
        self._identity = {
            "engine": "openai",
            "model": model,
            "served_model": self._served,
            "revision": settings.revision,
        }

    def answer(self, prompts: Sequence[list[int]], max_new_tokens: int) -> list[Completion]:
        """Return one answer a prompt; a request that fails for good is that prompt's error."""
        return self._each(
            prompts,
            lambda choice: Completion(text=choice.text),
            lambda why: Completion(error=why),
            max_tokens=max_new_tokens,
        )

    def weigh(self, prompts: Sequence[list[int]], tokens: Sequence[int]) -> list[NextToken]:
        """Return how likely each token is right after each prompt; see `Engine.weigh`.

        vLLM's servers are asked for these tokens. Others know no such request and list the
        likeliest only: a token that they leave out has no weight.
        """
        return self._each(
            prompts,
            lambda choice: self._weights(choice, tokens),
            lambda why: NextToken(error=why),
            max_tokens=1,
            logprobs=len(tokens),
            extra_body={"logprob_token_ids": list(tokens), "return_tokens_as_token_ids": True},
        )

    def _weights(self, choice: Any, tokens: Sequence[int]) -> NextToken:
        listed = (getattr(choice.logprobs, "top_logprobs", None) or [None])[0] or {}
        found = [
            listed.get(f"token_id:{token}", listed.get(self.tokenizer.decode([token])))
            for token in tokens
        ]
        if all(one is None for one in found):
            return NextToken(error="the endpoint lists none of the judge's tokens")
        return NextToken(tuple(-math.inf if one is None else float(one) for one in found))

    def _each(
        self,
        prompts: Sequence[list[int]],
        read: Callable[[Any], _T],
        failed: Callable[[str], _T],
        **request: Any,
    ) -> list[_T]:
        """Return what `read` makes of each prompt's first choice, or `failed` of the reason."""

        def one(prompt: list[int]) -> _T:
            if self._abort.is_set():
                return failed("judging was stopped")
            try:
                completion = self._client.completions.create(
                    model=self._served, prompt=prompt, temperature=0.0, **request
                )
            except OpenAIError as error:
                return failed(brief(error))
            if not completion.choices:
                return failed("the endpoint returned no choice")
            return read(completion.choices[0])

        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(one, prompts))

    def identity(self) -> dict[str, Any]:
        """Return the endpoint's model; what revision it serves is the operator's to say."""
        return self._identity

    def close(self) -> None:
        """Send no further requests."""
        self._abort.set()
        self._client.close()
