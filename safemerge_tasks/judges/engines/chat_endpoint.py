"""One message to a chat model behind an OpenAI-compatible endpoint, and every way that can end."""

import threading
from dataclasses import dataclass, field
from typing import Any

from openai import APIStatusError, OpenAIError

from safemerge_tasks.common.errors import brief
from safemerge_tasks.judges.engines.endpoint import connect, find_served
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.thinking import strip_thinking
from safemerge_tasks.verdicts.verdict import Verdict

# The request itself is at fault: too long, or stopped by the provider's filter. A missing model or
# a wrong key is not among them, because the user can mend those and judge again.
_REFUSED_REQUESTS = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        text: the judge's words, without its thinking; None where there are none to read.
        failure: the unscored verdict where `text` is None.
        again: asking the same again at once may give words to read.
    """

    text: str | None = None
    failure: Verdict = field(default_factory=Verdict)
    again: bool = False


class ChatEndpoint:
    """Sends single user messages, which every chat template knows, at temperature 0."""

    def __init__(self, settings: JudgeSettings) -> None:
        """Connect to `judge_url`.

        Raises:
            SafemergeError: no answer, or it is not clear which model is meant.
        """
        self._client = connect(settings)
        self.served = find_served(self._client, settings, None)
        self._abort = threading.Event()

    def ask(self, message: str, max_new_tokens: int) -> Reply:
        """Return the reply; the client retries rate limits, server errors and lost connections."""
        if self._abort.is_set():
            return _failed("judging was stopped", pending=True)
        try:
            completion: Any = self._client.chat.completions.create(
                model=self.served,
                messages=[{"role": "user", "content": message}],
                max_tokens=max_new_tokens,
                temperature=0.0,
            )
        except APIStatusError as error:
            if error.status_code in _REFUSED_REQUESTS:
                return _failed(f"the judge's endpoint refused the request: {brief(error)}")
            return _failed(f"the judge's endpoint failed: {brief(error)}", pending=True)
        except (OpenAIError, ValueError, RuntimeError) as error:
            # ValueError: not JSON. RuntimeError: the client was closed meanwhile.
            return _failed(f"the judge's endpoint failed: {brief(error)}", pending=True)
        return _read(completion)

    def close(self) -> None:
        """Send no further requests."""
        self._abort.set()
        self._client.close()


def _read(completion: Any) -> Reply:
    # Gateways answer an overload with an empty list, with null or with a page that is not JSON.
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        return _failed("the judge's endpoint returned no reply", again=True, pending=True)
    choice = choices[0]
    if getattr(choice.message, "refusal", None):
        return _failed("the judge refused to judge", raw=choice.message.refusal)
    if choice.finish_reason == "content_filter":
        return _failed("a content filter stopped the judge", raw=choice.message.content)
    if choice.finish_reason == "length":
        return _failed("the judge's reply was too long", again=True, raw=choice.message.content)
    text = strip_thinking(choice.message.content or "")
    if text is None:
        return _failed("the judge's reply ended inside its thinking section", again=True)
    return Reply(text=text)


def _failed(
    reason: str, *, pending: bool = False, again: bool = False, raw: str | None = None
) -> Reply:
    return Reply(failure=Verdict.no_verdict(reason, raw, pending=pending), again=again)
