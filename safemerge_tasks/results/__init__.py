"""lm-eval's result and sample files, all that an evaluation and what follows it share."""

from safemerge_tasks.results.answers import (
    GEN_PREFIX,
    all_responses,
    begun_answer,
    saved_answer,
    stored_thinking,
)
from safemerge_tasks.results.completeness import complete_rows
from safemerge_tasks.results.rewriting import rewrite
from safemerge_tasks.results.runs import (
    Run,
    find_runs,
    is_results_file,
    latest_results,
    model_name,
    read_runs,
    write_run,
)
from safemerge_tasks.results.samples import Row, content_hash, scored_row, stream_rows
from safemerge_tasks.results.stored import (
    CORRECTED,
    HARMFUL_QUESTIONS,
    HARMLESS_QUESTIONS,
    PREDICTION,
    REFERENCE_ANSWERS,
    judged_metadata,
    lasting,
    replace_rates,
    stored_by_us,
)

__all__ = [
    "CORRECTED",
    "GEN_PREFIX",
    "HARMFUL_QUESTIONS",
    "HARMLESS_QUESTIONS",
    "PREDICTION",
    "REFERENCE_ANSWERS",
    "Row",
    "Run",
    "all_responses",
    "begun_answer",
    "complete_rows",
    "content_hash",
    "find_runs",
    "is_results_file",
    "judged_metadata",
    "lasting",
    "latest_results",
    "model_name",
    "read_runs",
    "replace_rates",
    "rewrite",
    "saved_answer",
    "scored_row",
    "stored_by_us",
    "stored_thinking",
    "stream_rows",
    "write_run",
]
