"""What judges without a model share: there is nothing to check, load or free."""

from collections.abc import Sequence
from typing import Any

from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict


class PlainJudge:
    """A judge that needs nothing but its own code; a subclass says how it judges.

    Set `empty` as well where the judge tells refusals: an empty answer complies with nothing.
    """

    empty = Verdict(harmful=False)
    languages: frozenset[str] | None = None
    deferred = False
    uses_accelerator = False
    members: tuple[Judge, ...] = ()

    def __init__(self, settings: JudgeSettings) -> None:
        self.name = settings.name

    def check(self) -> None:
        """Nothing can be missing."""

    def open(self) -> None:
        """Nothing to load."""

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict an exchange, in order."""
        raise NotImplementedError(f"{type(self).__name__} has no method `judge`")

    def identity(self) -> dict[str, Any]:
        """Return what shapes the verdicts: stored with the results, and compared by the gate."""
        return {"name": self.name}

    def cache_key(self) -> dict[str, Any] | None:
        """Return nothing: judging again costs less than looking it up."""
        return None

    def close(self) -> None:
        """Nothing to free."""
