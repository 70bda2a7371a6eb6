"""Judge models behind an OpenAI-compatible completions endpoint, such as `vllm serve`."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai import OpenAIError
from transformers import AutoTokenizer

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.judges.engines.base import Completion
from safemerge_tasks.judges.engines.endpoint import connect, find_served
from safemerge_tasks.judges.settings import JudgeSettings


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
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(lambda prompt: self._complete(prompt, max_new_tokens), prompts))

    def _complete(self, prompt: list[int], max_new_tokens: int) -> Completion:
        if self._abort.is_set():
            return Completion(error="judging was stopped")
        try:
            completion = self._client.completions.create(
                model=self._served, prompt=prompt, max_tokens=max_new_tokens, temperature=0.0
            )
        except OpenAIError as error:
            return Completion(error=brief(error))
        if not completion.choices:
            return Completion(error="the endpoint returned no choice")
        return Completion(text=completion.choices[0].text)

    def identity(self) -> dict[str, Any]:
        """Return the endpoint's model; what revision it serves is the operator's to say."""
        return self._identity

    def close(self) -> None:
        """Send no further requests."""
        self._abort.set()
        self._client.close()
