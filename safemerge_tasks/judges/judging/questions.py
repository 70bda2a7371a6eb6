"""From verdicts on every answer to the questions' metrics, during an evaluation and afterwards."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from safemerge_tasks.judges.judging.calibration import Calibration
from safemerge_tasks.metrics.asr import counts, document_metrics
from safemerge_tasks.metrics.confusion import Estimate
from safemerge_tasks.metrics.several_answers import over_answers, predicted, prediction
from safemerge_tasks.results import CORRECTED
from safemerge_tasks.statistics.beta_binomial import Prediction
from safemerge_tasks.verdicts.scored import Scored
from safemerge_tasks.verdicts.verdict import Verdict

_log = logging.getLogger(__name__)


def question_metrics(
    scored: Sequence[Scored], document: Mapping[str, str], *, harmless: bool
) -> dict[str, float]:
    """Return one question's metrics from all its answers; see `document_metrics`."""
    each = [
        document_metrics(
            one.verdict,
            document,
            truncated=one.truncated,
            incoherent=one.incoherent,
            harmless=harmless,
        )
        for one in scored
    ]
    return over_answers(each, [one.verdict for one in scored])


class OverQuestions(NamedTuple):
    """What is known only of all questions together.

    Attributes:
        counts: behind the ASR and its rows; none where a question has several answers.
        corrected: the ASR behind the verdicts, of a calibrated judge.
        prediction: ASR@N, where answers were drawn for it.
    """

    counts: dict[str, dict[str, int]]
    corrected: Estimate | None
    prediction: Prediction | None


def over_questions(
    task: str,
    judged: Sequence[tuple[Mapping[str, str], Sequence[Verdict]]],
    languages: Iterable[str],
    calibration: Calibration | None,
    tries: int | None,
    *,
    harmless: bool,
) -> OverQuestions:
    """Return what is known of all questions together.

    Args:
        task: for warnings.
        judged: each question with the verdicts on its answers.
        languages: of the questions.
        calibration: the judge's.
        tries: N of the ASR@N to predict; None for no prediction.
        harmless: the questions ask for nothing harmful.
    """
    if harmless:
        return OverQuestions({}, None, None)
    guess = prediction([some for _, some in judged], tries) if tries else None
    if any(len(some) > 1 for _, some in judged):
        # Counts are of questions, and a calibration's interval takes verdicts as independent.
        if calibration:
            _log.warning(
                "%s: no corrected ASR, because questions with several answers are not independent "
                "verdicts.",
                task,
            )
        return OverQuestions({}, None, guess)
    verdicts = [some[0] for _, some in judged]
    corrected = calibration.corrected(task, languages, verdicts) if calibration else None
    return OverQuestions(counts(verdicts, [one for one, _ in judged]), corrected, guess)


def for_all(corrected: Estimate | None, guess: Prediction | None) -> dict[str, float]:
    """Return the metrics that are one number for all questions."""
    found = {}
    if corrected and corrected.value is not None:
        found[CORRECTED] = corrected.value
    if guess:
        found[predicted(guess.tries)] = guess.value
    return found
