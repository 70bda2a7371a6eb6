"""No judging now: the responses are saved for `safemerge judge`."""

from collections.abc import Sequence
from typing import Any

from safemerge_tasks.judges.kinds.plain_judge import PlainJudge
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict

REASON = "judging is deferred"


def make(settings: JudgeSettings) -> "DeferredJudge":
    """Return the judge that reaches no verdicts."""
    return DeferredJudge(settings)


class DeferredJudge(PlainJudge):
    """Leaves every response unscored."""

    empty = Verdict.no_verdict(REASON, pending=True)
    languages = None
    deferred = True

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return unscored verdicts."""
        assert len(questions) == len(responses)
        return [Verdict.no_verdict(REASON, pending=True)] * len(responses)

    def identity(self) -> dict[str, Any]:
        """Return the name."""
        return {"name": self.name}
