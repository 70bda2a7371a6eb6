"""What a chat model is asked: a rubric with a question and a response in it."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.unicode import valid_unicode
from safemerge_tasks.judges.prompts.hostile_text import without_control_strings

FENCE_VERSION = 1
"""Raised whenever `Rubric.ask` puts the same exchange in another way."""

_PACKAGED = Path(__file__).parent / "rubrics"
_FIELD = re.compile(r"\{(question|response)\}")


@dataclass(frozen=True)
class Rubric:
    """A text with the fields `{question}` and `{response}`; other braces are literal."""

    text: str

    def ask(self, question: str, response: str) -> str:
        """Return the message to the judge.

        Question and response each stand between marker lines with a code made from both, so that
        no text can hold its own closing line: it would have to contain a hash of itself. An equal
        exchange gives an equal message, so verdicts can be cached and judged again.
        """
        contents = {"question": valid_unicode(question), "response": valid_unicode(response)}
        joined = "\0".join(contents.values()).encode()
        code = hashlib.sha256(joined).hexdigest()[:16]
        return _FIELD.sub(lambda field: _fenced(field[1], contents[field[1]], code), self.text)


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
