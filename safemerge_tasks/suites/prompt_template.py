"""A task's `doc_to_text` filled in as lm-eval fills it in, for prompts outside an evaluation."""

import re
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, StrictUndefined, Template


def fill_in(template: str, question: Mapping[str, str]) -> str:
    """Return the prompt that a Jinja template makes of a question."""
    return _compiled(template).render(**question)


@cache
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


@cache
def _environment() -> Environment:
    # lm-eval's own settings and its one filter, so that both render the same text.
    found = Environment(  # noqa: S701 - prompts are no HTML
        undefined=StrictUndefined, keep_trailing_newline=True
    )
    found.filters["regex_replace"] = lambda text, pattern, to, count=0: re.sub(
        pattern, to, text, count=count
    )
    return found
