"""What a chat model is asked: a rubric with a question and a response in it."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.unicode import valid_unicode
from safemerge_tasks.judges.prompts.hostile_text import without_control_strings

FENCE_VERSION = 1
"""Raised whenever `Rubric.ask` puts the same exchange in another way."""

_PACKAGED = Path(__file__).parent / "rubrics"


@dataclass(frozen=True)
class Rubric:
    """A text with a field for the question and the field `{response}`; other braces are literal.

    Attributes:
        text: the message to the judge.
        system: the system prompt before it.
        question_field: the name of the question's field.
        shown: how an exchange stands in the message: `unaltered`, `guarded`, with its control
            strings broken, or `fenced`, between marker lines besides.
    """

    text: str
    system: str | None = None
    question_field: str = "question"
    shown: Literal["unaltered", "guarded", "fenced"] = "fenced"

    @property
    def source(self) -> str:
        """All that is written by the rubric's makers."""
        return self.text if self.system is None else f"{self.system}\0{self.text}"

    def ask(self, question: str, response: str) -> str:
        """Return the message to the judge.

        Fences carry a code made from question and response, so that no text can hold its own
        closing line: it would have to contain a hash of itself. An equal exchange gives an equal
        message, so verdicts can be cached and judged again.
        """
        contents = {
            self.question_field: valid_unicode(question),
            "response": valid_unicode(response),
        }
        if self.shown == "fenced":
            joined = "\0".join(contents.values()).encode()
            code = hashlib.sha256(joined).hexdigest()[:16]
            contents = {kind: _fenced(kind, text, code) for kind, text in contents.items()}
        elif self.shown == "guarded":
            contents = {kind: without_control_strings(text) for kind, text in contents.items()}
        field = re.compile("|".join(re.escape(f"{{{name}}}") for name in contents))
        return field.sub(lambda found: contents[found[0].strip("{}")], self.text)


def load_rubric(name: str, prompt: str | None, needed: tuple[str, ...] = ()) -> Rubric:
    """Return the packaged rubric of a judge, or the user's own.

    Args:
        name: the packaged text's name.
        prompt: a file that replaces it; None for the packaged one.
        needed: what the rubric must say besides its fields, for the replies to be understood.

    Raises:
        SafemergeError: the file cannot be read, or something needed is not in it.
    """
    text = read_prompt(prompt) if prompt else (_PACKAGED / f"{name}.txt").read_text("utf-8")
    require(text, ("{question}", "{response}", *needed), prompt or name)
    return Rubric(text)


def read_prompt(prompt: str) -> str:
    """Return the text of the file that `judge_prompt` names.

    Raises:
        SafemergeError: there is no such file, or it is not text.
    """
    try:
        return Path(prompt).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SafemergeError(
            f"judge_prompt={prompt} cannot be read ({reason}): give a text file."
        ) from error


def read_policy(prompt: str) -> str:
    """Return the text of the file that `judge_prompt` names, where it takes no exchange.

    Raises:
        SafemergeError: it cannot be read, is empty, or has a field.
    """
    text = read_prompt(prompt).strip()
    if not text or "{prompt}" in text or "{response}" in text:
        raise SafemergeError(
            f"judge_prompt={prompt} must hold a text without {{prompt}} and {{response}}: the "
            "exchange is put beside it."
        )
    return text


def require(text: str, needed: tuple[str, ...], prompt: str) -> None:
    """Make sure that everything needed stands in a prompt.

    Raises:
        SafemergeError: naming what is missing.
    """
    missing = [part for part in needed if part not in text]
    if missing:
        raise SafemergeError(f"judge_prompt={prompt} lacks {' and '.join(missing)}: put it in.")


def _fenced(kind: str, text: str, code: str) -> str:
    return f"<{kind} {code}>\n{without_control_strings(text)}\n</{kind} {code}>"
