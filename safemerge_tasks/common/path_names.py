"""Names such as `toy:aligned` for paths that whoever registered the prefix finds or makes."""

from collections.abc import Callable

_FINDERS: dict[str, Callable[[str], str]] = {}


def register_names(prefix: str, find: Callable[[str], str]) -> None:
    """Have every text that begins with a prefix such as `toy:` resolved by a function."""
    _FINDERS[prefix] = find


def resolve(text: str) -> str:
    """Return the path that a registered name stands for; any other text is returned unchanged.

    Raises:
        SafemergeError: the prefix is known, the rest of the name is not.
    """
    find = next((find for prefix, find in _FINDERS.items() if text.startswith(prefix)), None)
    return find(text) if find else text
