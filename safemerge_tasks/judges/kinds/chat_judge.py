"""Judges that are chat models behind an endpoint: a rubric, bounded tries and a parser."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safemerge_tasks.common import bars
from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.judges.engines.usage import Usage
from safemerge_tasks.judges.prompts.rubric import FENCE_VERSION, Rubric
from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from safemerge_tasks.judges.engines.chat_endpoint import ChatEndpoint

TRIES = 5
"""How often one exchange is put before the judge until its reply can be read (RESTA's number)."""

_KEPT_UNDER = 1024
"""Stands in the cache's keys for the budget, which shapes no verdict that is kept."""

_CHARACTERS_PER_TOKEN = 4


class ChatJudge:
    """A chat model that reads a rubric with one exchange in it.

    The weights are somebody else's, so are the tokenizer and the context: a response keeps its
    first `4 * judge_max_model_len` characters, and what the endpoint still calls too long is
    unscored.
    """

    languages: frozenset[str] | None = None
    uses_accelerator = False
    deferred = False
    members: tuple[Judge, ...] = ()

    def __init__(
        self,
        settings: JudgeSettings,
        *,
        rubric: Callable[[], Rubric],
        parse: Callable[[str], Verdict],
        parser_version: int,
        empty: Verdict,
        mode: str | None = None,
    ) -> None:
        """Prepare a judge; nothing is sent.

        Args:
            settings: which endpoint.
            rubric: returns what is asked; may raise SafemergeError.
            parse: from the model's words to a verdict, an unscored one where they cannot be read.
            parser_version: raised whenever `parse` may judge the same words otherwise.
            empty: the verdict on an empty response.
            mode: how an exchange is shown, where that is a setting.
        """
        self.name = settings.name
        self.empty = empty
        self.usage = Usage()
        self._settings = settings
        self._rubric = rubric
        self._parse = parse
        self._parser_version = parser_version
        self._how = {} if mode is None else {"mode": mode}
        self._longest = settings.max_model_len * _CHARACTERS_PER_TOKEN
        self._endpoint: ChatEndpoint | None = None

    def check(self) -> None:
        """Make sure that rubric, URL and key are given; see `Judge.check`."""
        self._rubric()
        if self._settings.url is None:
            raise SafemergeError(
                f"judge={self.name} needs judge_url, the base URL of an OpenAI-compatible endpoint "
                "(for a local `vllm serve`: judge_url=http://localhost:8000/v1), and "
                "judge_served_model where it serves several."
            )
        self._settings.api_key()

    def open(self) -> None:
        """Connect unless connected."""
        if self._endpoint is None:
            self.check()
            from safemerge_tasks.judges.engines.chat_endpoint import ChatEndpoint

            self._endpoint = ChatEndpoint(self._settings, self.usage)

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict an exchange; what goes wrong with one is that one's reason."""
        from tqdm import tqdm

        self.open()
        assert self._endpoint is not None
        endpoint, rubric = self._endpoint, self._rubric()

        def one(exchange: tuple[str, str]) -> Verdict:
            question, response = exchange
            shown = response[: self._longest]
            try:
                verdict = self._verdict(endpoint, rubric.ask(question, shown), rubric.system)
            except Exception as error:  # a parser's, which may be another package's
                verdict = Verdict.no_verdict(f"the exchange failed: {brief(error)}", pending=True)
            return replace(verdict, cut=len(shown) < len(response))

        with ThreadPoolExecutor(self._settings.concurrency) as pool:
            verdicts = pool.map(one, zip(questions, responses, strict=True))
            bar = tqdm(verdicts, desc=bars.JUDGING, total=len(questions), disable=not bars.wanted())
            return list(bar)

    def _verdict(self, endpoint: "ChatEndpoint", message: str, system: str | None) -> Verdict:
        verdict = Verdict()
        for _ in range(TRIES):
            reply = endpoint.ask(message, self._settings.max_new_tokens, system)
            if reply.text is None:
                verdict = reply.failure
                if not reply.again:
                    return verdict
            else:
                verdict = self._parse(reply.text)
                if verdict.unscored is None:
                    return verdict
        return replace(verdict, unscored=f"{verdict.unscored} ({TRIES} tries)")

    def identity(self) -> dict[str, Any]:
        """Return name, rubric hash, parser version, and the served model once it is known."""
        rubric = self._rubric().source
        served = self._endpoint.served if self._endpoint else self._settings.served_model
        return {
            "name": self.name,
            "prompt_sha256": hashlib.sha256(rubric.encode()).hexdigest(),
            "parser_version": self._parser_version,
            **self._how,
            "engine": "openai",
            "model": served,
        }

    def cache_key(self) -> dict[str, Any] | None:
        """Return rubric, parser and endpoint; None where the model is not named."""
        if self._settings.served_model is None:
            return None
        return {
            "name": self.name,
            "prompt": self._rubric().source,
            **self._how,
            "fence_version": FENCE_VERSION,
            "parser_version": self._parser_version,
            "max_new_tokens": _KEPT_UNDER,
            **self._settings.model_dump(include={"url", "served_model", "max_model_len"}),
        }

    def close(self) -> None:
        """Send no further requests."""
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None
