"""The judges of an evaluation, one after the other over all of its suites."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from safemerge_tasks.common.errors import brief
from safemerge_tasks.harness.live_evaluation import LiveEvaluation
from safemerge_tasks.judges import Judge, JudgeSettings
from safemerge_tasks.judges.judging.calibration import Calibration
from safemerge_tasks.metrics.confusion import Estimate
from safemerge_tasks.statistics.beta_binomial import Prediction
from safemerge_tasks.verdicts.scored import Scored

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Appointed:
    """A judge that a suite was given."""

    settings: JudgeSettings
    judge: Judge
    calibration: Calibration | None = None

    @classmethod
    def of(cls, settings: JudgeSettings, judge: Judge) -> Self:
        """Return a judge with its calibration.

        Raises:
            SafemergeError: it cannot work, or the calibration is another judge's.
        """
        judge.check()
        return cls(settings, judge, Calibration.named(settings, judge))


class Judged(NamedTuple):
    """What one judge says of a suite's responses.

    Attributes:
        name: the judge's, and of its filter.
        identity: what is stored of it.
        scored: every answer's, one list for each of the suite's instances.
        counts: behind the ASR and its rows; empty where a question has several answers.
        corrected: the ASR behind the verdicts, of a calibrated judge.
        prediction: ASR@N, where answers were drawn for it.
    """

    name: str
    identity: Mapping[str, Any]
    scored: list[list[Scored]]
    counts: Mapping[str, Mapping[str, int]]
    corrected: Estimate | None
    prediction: Prediction | None


class Suite(Protocol):
    """A task whose responses are judged."""

    def judges_now(self, evaluation: LiveEvaluation | None) -> list[Appointed]:
        """Return who is to judge."""
        ...

    def judge_by(self, appointed: Appointed, evaluation: LiveEvaluation | None) -> Judged:
        """Judge."""
        ...


SuiteT = TypeVar("SuiteT", bound=Suite)


def judge_together(
    suites: Sequence[SuiteT], evaluation: LiveEvaluation | None
) -> dict[SuiteT, list[Judged]]:
    """Return what every judge says of its suites.

    All responses are there when the first suite's turn comes, so each judge's engine starts once,
    for all suites, and only one is in memory.
    """
    work = [(suite, one) for suite in suites for one in suite.judges_now(evaluation)]
    judges = list(dict.fromkeys(one.judge for _, one in work))
    found: dict[SuiteT, list[Judged]] = {suite: [] for suite in suites}
    for judge in judges:
        if evaluation and judge.uses_accelerator:
            evaluation.release_model()
        for suite, one in work:
            if one.judge is judge:
                found[suite].append(suite.judge_by(one, evaluation))
        if evaluation or judge is not judges[-1]:
            _close(judge)
    return found


def _close(judge: Judge) -> None:
    """Free the judge's engine: the next judge, or a notebook's next model, needs the memory."""
    try:
        judge.close()
    except Exception as error:  # whatever an engine's own code raises; the verdicts are there
        _log.warning("The judge's engine may stay in memory: %s", brief(error))
