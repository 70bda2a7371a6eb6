"""The one exception a caller of this package has to know, and what others' errors say in it."""


class SafemergeError(Exception):
    """Bad input; the message is one sentence naming the file, the value and the fix."""


def one_line(error: BaseException, longest: int | None = None) -> str:
    """Return what an error says as one line, cut at a number of characters."""
    return " ".join(str(error).split())[:longest]


def brief(error: BaseException) -> str:
    """Return an error's kind and what it says, short enough to stand in a sentence."""
    text = one_line(error, 300)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
