"""What judges without a model share: there is nothing to check, load or free."""

from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.settings import JudgeSettings


class PlainJudge:
    """A judge that needs nothing but its own code."""

    uses_accelerator = False
    members: tuple[Judge, ...] = ()

    def __init__(self, settings: JudgeSettings) -> None:
        self.name = settings.name

    def check(self) -> None:
        """Nothing can be missing."""

    def open(self) -> None:
        """Nothing to load."""

    def cache_key(self) -> None:
        """Judging again costs less than looking it up."""

    def close(self) -> None:
        """Nothing to free."""
