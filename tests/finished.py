"""What a command left."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """A finished command."""

    status: int
    out: str
    err: str
