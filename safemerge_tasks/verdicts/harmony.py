"""gpt-oss' channels: the answer is what stands in `final`.

Where special tokens are left out of the text, only the words between them remain:
`analysis…assistantfinal…`.
"""

import re

from safemerge_tasks.verdicts.no_answer import TOOL_CALL, UNFINISHED, NoAnswer

_TURN = "<|start|>assistant"
_HEADER = re.compile(r"<\|channel\|>\s*(\w+)([^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>")
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BEGINS = re.compile(r"\s*(?:<\|start\|>)?(?:assistant)?(?=<\|channel\|>\s*\w)")

_WORD = re.compile(r"\s*(?:assistant)?analysis")
# A word that goes on is none: only a sentence that follows at once, or the next message.
_SENTENCE = re.compile(r"""["“]|[^\W_]""")
_FINAL = "assistantfinal"
_CALL = re.compile(r"(?:assistant)?commentary\s+to=")


def final_message(response: str, prompt: str) -> str | None:
    """Return the final message; None where the response is not in channels.

    Raises:
        NoAnswer: there is no final message.
    """
    turn = prompt[prompt.rfind(_TURN) :] if _TURN in prompt else None
    if turn is not None and ("<|end|>" in turn or "<|return|>" in turn):
        turn = None
    # A prompt may open a channel, as a prefilled answer does.
    opened = list(_HEADER.finditer(turn or ""))
    if opened:
        if opened[-1][1] == "final":
            return _message(response, 0)
    elif not _BEGINS.match(response):
        return _of_words(response, harmony=turn is not None)
    for header in _HEADER.finditer(response):
        if header[1] == "final":
            return _message(response, header.end())
    return _final_of_words(response)


def _message(text: str, start: int) -> str:
    end = _MESSAGE_END.search(text, start)
    return text[start : end.start()] if end else text[start:]


def _of_words(response: str, *, harmony: bool) -> str | None:
    """Read the spelling without special tokens.

    Args:
        response: the text.
        harmony: the prompt says that the model writes channels.
    """
    begins = _WORD.match(response)
    if begins and (harmony or _FINAL in response or _SENTENCE.match(response, begins.end())):
        return _final_of_words(response)
    if harmony and response.startswith("final"):
        return response.removeprefix("final")
    if harmony and _CALL.match(response):
        raise NoAnswer(TOOL_CALL)
    return None


def _final_of_words(response: str) -> str:
    _, found, final = response.partition(_FINAL)
    if found:
        return final
    called = _CALL.search(response) or re.search(r"\sto=functions\.", response)
    raise NoAnswer(TOOL_CALL if called else UNFINISHED)
