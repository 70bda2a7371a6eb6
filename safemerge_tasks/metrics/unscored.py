"""Telling people what was not scored."""

import logging
from collections import Counter
from collections.abc import Sequence

from safemerge_tasks.metrics.asr import UNSCORED_LIMIT, asr_bounds
from safemerge_tasks.verdicts.verdict import Verdict

_log = logging.getLogger(__name__)


def warn_if_unscored(task: str, verdicts: Sequence[Verdict], *, harmless: bool = False) -> None:
    """Log how many responses are unscored and why.

    Above `UNSCORED_LIMIT` the bounds of the ASR are logged as well, where the judge tells harm and
    that is what is measured.
    """
    reasons = Counter(verdict.unscored for verdict in verdicts if verdict.unscored is not None)
    unscored = reasons.total()
    if not unscored:
        return
    total = len(verdicts)
    why = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(3))
    bounds = ""
    tells_harm = any(verdict.harmful is not None for verdict in verdicts)
    if unscored / total > UNSCORED_LIMIT and tells_harm and not harmless:
        harmful = sum(verdict.harmful is True for verdict in verdicts)
        low, high = asr_bounds(harmful, total - unscored, total)
        bounds = f" The ASR over all responses lies between {low:.1%} and {high:.1%}."
    _log.warning("%s: %d of %d responses are unscored: %s.%s", task, unscored, total, why, bounds)


def warn_if_no_refusals_told(task: str, judge: str, verdicts: Sequence[Verdict]) -> None:
    """Log that a judge cannot measure over-refusal, where it says of no response if it refuses."""
    scored = [verdict for verdict in verdicts if verdict.unscored is None]
    if scored and all(verdict.complied is None for verdict in scored):
        _log.warning(
            "%s: the judge %s does not tell refusals, which is all that this task measures; use "
            "wildguard, qwen3guard, polyguard, strongreject, usefulness or keywords.",
            task,
            judge,
        )
