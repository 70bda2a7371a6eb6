"""What every judge offers."""

from collections.abc import Sequence
from typing import Any, Protocol

from safemerge_tasks.verdicts.verdict import Verdict


class Panel(Protocol):
    """What a judge with members offers besides."""

    def combine(self, votes: Sequence[Sequence[Verdict]]) -> list[Verdict]:
        """Return the panel's verdicts from those of its members, `[members][exchanges]`."""
        ...


class Judge(Protocol):
    """A pure batch function from exchanges to verdicts."""

    name: str
    empty: Verdict
    """What an empty response is; it is not shown to the judge."""
    languages: frozenset[str] | None
    """Languages (ISO 639-1) that the judge's makers list; None where they name none."""
    uses_accelerator: bool
    """True where the judge loads weights here, so the model under test must make room."""
    deferred: bool
    """True where judging is left to `safemerge judge`."""
    members: "tuple[Judge, ...]"
    """The judges of a panel, which also offers `combine`; empty for any other judge."""

    def check(self) -> None:
        """Find out, before anything slow, whether this judge can work.

        Raises:
            SafemergeError: one sentence with the way out.
        """
        ...

    def open(self) -> None:
        """Load what judging needs; may be slow, and may be called again at no cost."""
        ...

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict an exchange, in order."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what shapes this judge's verdicts: stored with the results."""
        ...

    def cache_key(self) -> dict[str, Any] | None:
        """Return everything that shapes a verdict and is known before anything is loaded.

        Two judges with equal keys give equal verdicts. None where a verdict is not worth keeping,
        or its maker cannot be told from another.
        """
        ...

    def close(self) -> None:
        """Free what `open` loaded; a `judge` running in another thread ends soon after."""
        ...
