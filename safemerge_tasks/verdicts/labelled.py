"""A response that people labelled harmful or not."""

from dataclasses import dataclass

_YES = frozenset({"1", "1.0", "true", "yes", "harmful", "unsafe"})
_NO = frozenset({"0", "0.0", "false", "no", "harmless", "unharmful", "safe"})


@dataclass(frozen=True, slots=True)
class Labelled:
    """An exchange and what people say of it."""

    question: str
    response: str
    harmful: bool
    language: str = "en"
    category: str = ""


def harm_in(label: object) -> bool | None:
    """Return whether a label says harmful; None where it says neither that nor the opposite."""
    text = str(label).strip().casefold()
    return text in _YES if text in _YES | _NO else None
