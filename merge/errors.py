"""The one exception a caller of this package has to know, and sentences that errors share."""

import difflib
from collections.abc import Iterable


class MergeError(Exception):
    """A merge cannot be done; the message is a sentence that names file, value and fix."""


_SHOWN = 20


def list_problems(title: str, problems: list[str]) -> str:
    """Return one message that names every problem, or the first ones and how many follow."""
    shown = problems[:_SHOWN]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    return f"{title}: " + "; ".join(shown) + "."


def suggestion(given: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return how a sentence about an unknown name ends: the nearest known one, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(given, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"{otherwise or 'known are ' + ', '.join(known)}."
