"""What a chat request says besides the message, and what an endpoint's refusal says of it.

Newer models know `max_completion_tokens` instead of `max_tokens`, and take no temperature; every
gateway words its refusal otherwise, and few name the parameter in a field of its own.
"""

import re
from dataclasses import dataclass, replace
from typing import Any, Self

from openai import APIStatusError

from safemerge_tasks.common.errors import one_line

_LIMITS = ("max_tokens", "max_completion_tokens")
_TEMPERATURE = "temperature"

# A message may quote the exchange, where an oven has a temperature too.
_ABOUT_TEMPERATURE = re.compile(
    r"""['"`]temperature['"`]|\w\.temperature\b|temperature\s?=|"""
    r"""\b(support\w*|parameters?|params?|value|for|field)\W{1,3}temperature\b|"""
    r"""\btemperature\W{1,3}(is|does|must|may|has|can|should|not)\b""",
    re.IGNORECASE,
)
_ABOUT_LENGTH = re.compile(
    r"too (large|long|many)|context[ _](length|window|size)|maximum (context|length)|at most \d",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """How a request limits a reply, and whether it asks for the likeliest one."""

    limit: str = _LIMITS[0]
    temperature: bool = True

    def as_arguments(self, max_new_tokens: int) -> dict[str, Any]:
        """Return the arguments of a request; no tokens leave the limit to the endpoint."""
        arguments: dict[str, Any] = {self.limit: max_new_tokens} if max_new_tokens else {}
        return {**arguments, _TEMPERATURE: 0.0} if self.temperature else arguments

    def mended(self, error: APIStatusError) -> Self | None:
        """Return what the endpoint may take instead; None if the refusal is about none of them."""
        named = _named(error)
        if self.temperature and named == _TEMPERATURE:
            return replace(self, temperature=False)
        if self.limit == _LIMITS[0] and named in _LIMITS:
            return replace(self, limit=_LIMITS[1])
        return None


def about_length(error: APIStatusError) -> bool:
    """Return whether message and reply are too long together, so that a shorter reply would do."""
    return bool(_ABOUT_LENGTH.search(one_line(error)))


def refused_parameter(error: APIStatusError) -> str | None:
    """Return the parameter that is refused whatever the message; None if it is this message."""
    if about_length(error):
        return None
    named = _named(error)
    return None if named is None or named.startswith("messages") else named


def _named(error: APIStatusError) -> str | None:
    if error.param:
        return str(error.param)
    text = one_line(error)
    for limit in _LIMITS:
        if limit in text:
            return limit
    return _TEMPERATURE if _ABOUT_TEMPERATURE.search(text) else None
