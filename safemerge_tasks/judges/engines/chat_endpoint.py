"""One message to a chat model behind an OpenAI-compatible endpoint, and every way that can end."""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from openai import APIStatusError, OpenAIError

from safemerge_tasks.common.errors import brief
from safemerge_tasks.judges.engines.endpoint import connect, find_served
from safemerge_tasks.judges.engines.parameters import Parameters, about_length, refused_parameter
from safemerge_tasks.judges.engines.usage import Usage
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.answer import read_answer
from safemerge_tasks.verdicts.verdict import Verdict

_log = logging.getLogger(__name__)

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
    """Sends single user messages, which every chat template knows, at temperature 0.

    A system prompt goes before the message where a rubric's makers wrote one.

    Parameters that the endpoint does not take are left out, or get the name it knows, from the
    first refusal on. One that it needs otherwise ends all asking: every exchange would fail alike.
    """

    def __init__(self, settings: JudgeSettings, usage: Usage | None = None) -> None:
        """Connect to `judge_url`, and count tokens in `usage`.

        Raises:
            SafemergeError: no answer, or it is not clear which model is meant.
        """
        self._client = connect(settings)
        self.served = find_served(self._client, settings, None)
        self._abort = threading.Event()
        self._usage = usage or Usage()
        self._parameters = Parameters()
        self._unusable: str | None = None

    def ask(self, message: str, max_new_tokens: int, system: str | None = None) -> Reply:
        """Return the reply; the client retries rate limits, server errors and lost connections."""
        before: list[Any] = [] if system is None else [{"role": "system", "content": system}]
        parameters, limit = self._parameters, max_new_tokens
        while True:
            if self._unusable or self._abort.is_set():
                return _failed(self._unusable or "judging was stopped", pending=True)
            try:
                completion: Any = self._client.chat.completions.create(
                    model=self.served,
                    messages=[*before, {"role": "user", "content": message}],
                    **parameters.as_arguments(limit),
                )
            except APIStatusError as error:
                if error.status_code not in _REFUSED_REQUESTS:
                    return _failed(f"the judge's endpoint failed: {brief(error)}", pending=True)
                if limit and about_length(error):
                    limit = 0  # with the rest of the context there may be room
                    continue
                mended = parameters.mended(error)
                if mended is None:
                    return self._refused(error)
                _log.warning("The judge's endpoint is asked otherwise: %s", brief(error))
                self._parameters = parameters = mended
            except (OpenAIError, ValueError, RuntimeError) as error:
                # ValueError: not JSON. RuntimeError: the client was closed meanwhile.
                return _failed(f"the judge's endpoint failed: {brief(error)}", pending=True)
            else:
                break
        told = getattr(completion, "usage", None)
        self._usage.add(*(_count(told, kind) for kind in ("prompt_tokens", "completion_tokens")))
        try:
            return _read(completion, max_new_tokens)
        except Exception as error:  # gateways' own shapes, which no type describes
            reason = f"the judge's reply cannot be read: {brief(error)}"
            return _failed(reason, again=True, pending=True)

    def _refused(self, error: APIStatusError) -> Reply:
        parameter = refused_parameter(error)
        if parameter is None:
            return _failed(f"the judge's endpoint refused the request: {brief(error)}")
        self._unusable = (
            f"the judge's endpoint does not take {parameter} ({brief(error)}); name another model "
            "with judge_served_model, or another endpoint with judge_url"
        )
        return _failed(self._unusable, pending=True)

    def close(self) -> None:
        """Send no further requests."""
        self._abort.set()
        self._client.close()


def _count(usage: Any, kind: str) -> int | None:
    found = getattr(usage, kind, None)
    return found if isinstance(found, int) else None


def _read(completion: Any, max_new_tokens: int) -> Reply:
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
        # Not asked again: the same tokens would cost the same.
        reason = f"the judge's reply reached judge_max_new_tokens={max_new_tokens}; raise it"
        return _failed(reason, raw=raw, pending=True)
    answer = read_answer({"content": content, "tool_calls": getattr(message, "tool_calls", None)})
    if answer.text is None:
        return _failed(f"the judge's reply {answer.reason}", again=True, raw=raw)
    return Reply(text=answer.text)


def _failed(
    reason: str, *, pending: bool = False, again: bool = False, raw: str | None = None
) -> Reply:
    return Reply(failure=Verdict.no_verdict(reason, raw, pending=pending), again=again)
