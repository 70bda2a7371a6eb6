"""Where a response's thinking ends: the spellings that models and their chat templates use.

A section counts where the response begins with it, or where the prompt, which the chat template
wrote, ends in its opening. Elsewhere an opening is a word of the answer.
"""

import re

from safemerge_tasks.verdicts.no_answer import UNFINISHED, NoAnswer

AUTO = "auto"
OFF = "off"
SEPARATOR = "..."
"""Stands, in a format of the user's own, between what opens and what closes a section."""

# <think>, <thinking>, <seed:think>, <mm:think>, <ifm|think_fast>, <longcat_think>, and Kimi's
# brackets; <|START_THINKING|> (Command A), <|begin_of_thought|> (OpenThinker).
_NAME = r"(?:[\w-]{1,24}[:|_])?(?:think(?:ing)?|thoughts?|reasoning|scratchpad)(?:[:_][\w-]{1,24})?"
_BARS = r"_(?:think(?:ing)?|thoughts?|reasoning)\|>"
_PAIRS = {
    "[THINK]": "[/THINK]",  # Magistral
    "<|channel>thought": "<channel|>",  # Gemma 4
    "<unused94>thought": "<unused95>",  # MedGemma
    "<unused94>": "<unused95>",
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<|open|>think<|sep|>": "<|close|>think<|sep|>",  # Kimi K3
    "<|content_thinking|>": "<|end_message|>",  # Inkling
    "to=self<|message|>": "<|eom|>",  # Muse
    "<|think|>": "<|end|>",  # Solar Open
}
# Closings that say by themselves what they close.
_LONE = ("[/THINK]", "<channel|>", "<unused95>", "<|inner_suffix|>", "<|close|>think<|sep|>")


def _any_of(literals: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, literals))


_OPENING = re.compile(
    rf"(?P<left>[<◁])(?P<name>(?i:{_NAME}))(?P<right>[>▷])"
    rf"|<\|(?P<begin>(?i:start|begin))(?P<bars>(?:_(?i:of))?(?i:{_BARS}))"
    rf"|{_any_of(tuple(_PAIRS))}"
)
_OPEN_END = re.compile(rf"(?:{_OPENING.pattern})\Z")
_LOST_OPENING = re.compile(
    rf"[<◁]/(?i:{_NAME})[>▷]|<\|(?i:end)(?:_(?i:of))?(?i:{_BARS})|{_any_of(_LONE)}"
)
# Granite's section is words, so it counts as one only if it ends, or where the prompt asks for it.
_GRANITE = re.compile(r"\s*Here(?: is|'s) my thought process:")
_GRANITE_END = re.compile(r"Here(?: is|'s) my response:")
_LONGEST_OPENING = 100
# A closing with what stands around it on its line.
_SENTENCE = re.compile(r"^[ `\"'(].+[ `\"').,;:!?]$")

_WRAPPED = re.compile(
    r"\s*(?P<open><(?P<name>answer|response|output)>|<\|START_RESPONSE\|>"
    r"|<\|begin_of_solution\|>|<\|open\|>response<\|sep\|>|<\|begin\|>assistant<\|content\|>"
    r"|<\|message_model\|><\|content_text\|>|(?:<\|start\|>assistant\s*)?to=user<\|message\|>)"
)
_WRAPPER_END = re.compile(
    r"(?:</(?:answer|response|output)>|<\|END_RESPONSE\|>|<\|end_of_solution\|>"
    r"|<\|close\|>response<\|sep\|>|<\|flush\|>|<\|end_message\|>|<\|eo[mt]\|>)\s*\Z"
)


def after_thinking(response: str, prompt: str, thinking: str) -> str:
    """Return what follows the thinking; the whole response where there is none.

    Args:
        response: a text.
        prompt: what it answers.
        thinking: `AUTO`, or a format of the user's own, `START...END`; without a START every
            response begins inside the section.

    Raises:
        NoAnswer: the section never ended.
    """
    if thinking != AUTO:
        start, _, end = thinking.partition(SEPARATOR)
        opened = response.lstrip().startswith(start) or prompt.rstrip().endswith(start)
        # A lost opening is as good as one, as with the formats that are known.
        return _without(response, start, end) if opened or end in response else response
    begins = len(response) - len(response.lstrip())
    opening = _OPENING.match(response, begins) or _open_at_end(prompt)
    if opening is not None:
        return _unwrapped(_without(response, opening[0], _closing(opening)))
    if _GRANITE.match(response):
        end_of_thought = _GRANITE_END.search(response)
        if end_of_thought:
            return response[end_of_thought.end() :]
        if _GRANITE.search(prompt) or "my thought process" in prompt:
            raise NoAnswer(UNFINISHED)
    return _after_lost_opening(response)


def _open_at_end(prompt: str) -> re.Match[str] | None:
    return _OPEN_END.search(prompt[-_LONGEST_OPENING:].rstrip())


def _closing(opening: re.Match[str]) -> str:
    if opening["name"]:
        return f"{opening['left']}/{opening['name']}{opening['right']}"
    if opening["begin"]:
        return f"<|{'END' if opening['begin'].isupper() else 'end'}{opening['bars']}"
    return _PAIRS[opening[0]]


def _without(response: str, start: str, end: str) -> str:
    """Return what is outside of sections, the first of which is open whether or not it says so."""
    kept = ""
    closed = response.find(end)
    while closed >= 0:
        after = closed + len(end)
        opened = response.find(start, after) if start else -1
        if opened < 0:
            return kept + response[after:]
        kept += response[after:opened]
        closed = response.find(end, opened)
    # The first section never ended, or another one did not before anything was said.
    if not kept.strip():
        raise NoAnswer(UNFINISHED)
    return kept + response[opened:]


def _unwrapped(answer: str) -> str:
    """Take off the marks that some formats put around the answer itself."""
    found = _WRAPPED.match(answer)
    return _WRAPPER_END.sub("", answer[found.end() :]) if found else answer


def _after_lost_opening(response: str) -> str:
    """Return what follows a closing whose opening a chat template or a tokenizer kept.

    A closing behind an opening, or in the midst of a sentence, is what the answer speaks of.
    """
    end = _LOST_OPENING.search(response)
    if end is None or _OPENING.search(response, 0, end.start()):
        return response
    if _SENTENCE.search(response[max(0, end.start() - 1) : end.end() + 1]):
        return response
    return _unwrapped(response[end.end() :])
