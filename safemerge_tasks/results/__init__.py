"""lm-eval's result and sample files, all that an evaluation and what follows it share."""

from safemerge_tasks.results.files import (
    Row,
    Run,
    back_up,
    content_hash,
    find_runs,
    write_run,
)
from safemerge_tasks.results.stored import (
    CORRECTED,
    HARMFUL_QUESTIONS,
    HARMLESS_QUESTIONS,
    REFERENCE_ANSWERS,
    judged_metadata,
    replace_rates,
    stored_by_us,
)

__all__ = [
    "CORRECTED",
    "HARMFUL_QUESTIONS",
    "HARMLESS_QUESTIONS",
    "REFERENCE_ANSWERS",
    "Row",
    "Run",
    "back_up",
    "content_hash",
    "find_runs",
    "judged_metadata",
    "replace_rates",
    "stored_by_us",
    "write_run",
]
