"""What safemerge keeps in lm-eval's results besides what lm-eval itself writes."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

HARMFUL_QUESTIONS = "harmful_questions"
"""Marks, in a task's stored metadata, the tasks whose samples a judge can read."""

HARMLESS_QUESTIONS = "harmless_questions"
"""Marks those whose questions only look harmful, where refusing is the failure."""

REFERENCE_ANSWERS = "reference_answers"
"""Marks those whose answers are compared with a reference; no judge reads them."""

CORRECTED = "asr_corrected"
"""The metric that a judge's calibration gives: one number for all documents."""

PREDICTION = "asr_prediction"
"""Where a task's stored metadata keeps each judge's predicted ASR@N, with its interval."""

CIRCUMSTANCES = frozenset(
    {"dtype", "engine", "engine_version", "krippendorff_alpha", "served_model", "url"}
)
"""What of a judge's identity may differ without making it another judge."""


def stored_by_us(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what safemerge stored in a task's configuration; empty for a task of others."""
    ours = (config.get("metadata") or {}).get("safemerge")
    return ours if isinstance(ours, dict) else {}


def lasting(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a judge's stored identity makes it this judge, as it comes back from JSON."""
    kept = {
        key: [lasting(member) for member in value] if key == "members" else value
        for key, value in identity.items()
        if key not in CIRCUMSTANCES
    }
    plain: dict[str, Any] = json.loads(json.dumps(kept))
    return plain


def replace_rates(row: dict[str, Any], table: Mapping[str, float | str], name: str) -> None:
    """Put the rates of one filter into a task's or group's result, for its old ones or deferred."""
    for key in [key for key in row if key.endswith((f",{name}", ",deferred"))]:
        del row[key]
    row.update(table)


def judged_metadata(
    judge: str,
    counts: Mapping[str, Mapping[str, int]],
    corrected: Any = None,
    prediction: Any = None,
) -> dict[str, Any]:
    """Return what a task's stored metadata keeps of one judge's verdicts, besides the rates.

    Args:
        judge: its name.
        counts: metric → counts behind the rate.
        corrected: a dataclass with the corrected rate; None for none.
        prediction: a dataclass with the predicted rate; None for none.
    """
    kept: dict[str, Any] = {}
    if counts:
        kept["counts"] = {judge: counts}
    for part, found in ((CORRECTED, corrected), (PREDICTION, prediction)):
        if found is not None:
            kept[part] = {judge: asdict(found)}
    return kept
