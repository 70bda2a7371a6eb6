"""What in a response is the answer, before any judge sees it."""

import re

_THINK_END = "</think>"
_THINK_START = re.compile(r"<think>")


def strip_thinking(response: str) -> str | None:
    """Return the answer after a thinking section, or None if the thinking never ended.

    A chat template may have opened the section itself, so an end without a start counts too.
    """
    _, end, answer = response.rpartition(_THINK_END)
    if end:
        return answer
    if _THINK_START.search(response):
        return None
    return response
