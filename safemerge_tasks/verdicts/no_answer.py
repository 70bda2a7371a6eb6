"""Why a response holds no answer, worded to follow "the response"."""

EMPTY = "is empty"
UNFINISHED = "ended inside its thinking section"
TOOL_CALL = "calls a tool instead of answering"
ODD = "is no text but {kind}"
UNASKED = "was never asked for, because no prompt could be made: {why}"


class NoAnswer(Exception):  # noqa: N818 - it ends a search and is no error
    """There is no answer; the message is the reason."""
