"""One message to a chat model behind an OpenAI-compatible endpoint, and every way that can end."""

import threading
from dataclasses import dataclass, field
from typing import Any

from openai import APIStatusError, OpenAIError

from safemerge_tasks.common.errors import brief
from safemerge_tasks.judges.engines.endpoint import connect, find_served
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.answer import read_answer
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
        try:
            return _read(completion)
        except Exception as error:  # gateways' own shapes, which no type describes
            reason = f"the judge's reply cannot be read: {brief(error)}"
            return _failed(reason, again=True, pending=True)

    def close(self) -> None:
        """Send no further requests."""
        self._abort.set()
        self._client.close()


def _read(completion: Any) -> Reply:
    # Gateways answer an overload with an empty list, with null or with a page that is not JSON.
    choices = getattr(completion, "choices", None)
    if not choices or choices[0].message is None:
        return _failed("the judge's endpoint returned no reply", again=True, pending=True)
    choice, message = choices[0], choices[0].message
    content = message.content
    raw = content if isinstance(content, str) else None
    if getattr(message, "refusal", None):
        return _failed("the judge refused to judge", raw=str(message.refusal))
    if choice.finish_reason == "content_filter":
        return _failed("a content filter stopped the judge", raw=raw)
    if choice.finish_reason == "length":
        reason = "the judge's reply was too long: it reached judge_max_new_tokens, so raise that"
        return _failed(reason, again=True, raw=raw, pending=True)
    answer = read_answer({"content": content, "tool_calls": getattr(message, "tool_calls", None)})
    if answer.text is None:
        return _failed(f"the judge's reply {answer.reason}", again=True, raw=raw)
    return Reply(text=answer.text)


def _failed(
    reason: str, *, pending: bool = False, again: bool = False, raw: str | None = None
) -> Reply:
    return Reply(failure=Verdict.no_verdict(reason, raw, pending=pending), again=again)
