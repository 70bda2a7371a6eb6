"""Scores answer by answer where all at once cannot be scored."""

from collections.abc import Sequence
from typing import Protocol

from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.metrics.reference_score import Similarity

PATIENCE = 3
"""After as many failures without a single score it is the encoder, not the answers."""


class Scorer(Protocol):
    """What scores a batch, all or nothing."""

    def score(self, answers: Sequence[str], references: Sequence[str]) -> Sequence[Similarity]:
        """Return the similarity of each answer to its reference."""
        ...


def score_each(
    scorer: Scorer, answers: Sequence[str], references: Sequence[str]
) -> tuple[Sequence[Similarity | None], Sequence[str | None]]:
    """Return the similarities, and for each that there is none of, why; never raise."""
    try:
        return scorer.score(answers, references), [None] * len(answers)
    except Exception as error:  # whatever an encoder's own code raises
        failure = brief(error)
        if isinstance(error, SafemergeError) or len(answers) == 1:
            return [None] * len(answers), [failure] * len(answers)
    similarities: list[Similarity | None] = []
    reasons: list[str | None] = []
    for answer, reference in zip(answers, references, strict=True):
        if len(reasons) >= PATIENCE and None not in reasons:
            similarities.append(None)
            reasons.append(failure)
            continue
        found, reason = score_each(scorer, [answer], [reference])
        similarities += found
        reasons += reason
    return similarities, reasons
