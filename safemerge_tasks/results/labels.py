"""Ids, categories and the like, which files that anybody may have written give."""

from hashlib import blake2b

LABEL_LIMIT = 120
"""A longer label is cut, since it may be a text."""


def label(text: str) -> str:
    """Return a label; one that is cut ends in a hash, since others may begin with the same."""
    if len(text) <= LABEL_LIMIT:
        return text
    digest = blake2b(text.encode("utf-8", "backslashreplace"), digest_size=4).hexdigest()
    return f"{text[: LABEL_LIMIT - len(digest) - 1]}\u2026{digest}"
