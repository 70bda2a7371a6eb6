"""The gate's report for programs: JSON that `gate.schema.json` describes."""

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from safemerge_tasks.gate.comparison import Comparison
from safemerge_tasks.gate.decision import GateResult, Together, Untold
from safemerge_tasks.gate.texts import Place, Texts, place

SCHEMA = Path(__file__).with_name("gate.schema.json")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Value(_Part):
    """A mean with its two-sided 95 % interval, and shares of questions that tell nothing."""

    value: float
    low: float | None
    high: float | None
    unscored: float
    empty: float
    cut: float | None


class Flipped(_Part):
    """A question that is worse in the candidate."""

    id: str
    category: str
    language: str
    question: str | None = None
    response: str | None = None
    before: str | None = None


class CheckResult(_Part):
    """One check; a change counts as positive where it is for the worse.

    The bounds are those that decide: `lower` and `candidate_lower` count what has no verdict for
    the candidate, `upper` and `candidate_upper` against it.
    """

    task: str
    judge: str
    metric: str
    category: str | None
    outcome: Literal["passed", "regression", "undecided"]
    reason: str
    warning: bool
    tier: Literal["block", "warn", "inform"]
    grade: int | None
    baseline: Value
    candidate: Value
    candidate_lower: float
    candidate_upper: float
    change: float
    lower: float
    upper: float
    confidence: float
    p_value: float
    family_p_value: float | None
    margin: float | None
    max: float | None
    questions: int
    clusters: int
    paired: bool
    smallest_detectable: float
    questions_needed: int | None
    possible_change: tuple[float, float] | None
    better: int
    worse: list[Flipped]


class GroupResult(_Part):
    """A category's, language's or attack's change, positive for the worse; it decides nothing.

    `family_p_value` holds for all groups together.
    """

    task: str
    judge: str
    metric: str
    category: str | None
    language: str | None
    attack: str | None
    baseline: float
    candidate: float
    change: float
    lower: float
    upper: float
    family_p_value: float
    questions: int


class Accepted(_Part):
    """A difference between the evaluations that `--accept` let pass."""

    task: str
    what: str
    detail: str


class UntoldResult(_Part):
    """A check without a question that could be compared; it is undecided."""

    task: str
    judge: str
    metric: str
    category: str | None
    tier: Literal["block", "warn", "inform"]
    reason: str


class TogetherResult(_Part):
    """The harm of all blocking safety tasks as one test; bounds as in `CheckResult`."""

    tasks: list[str]
    outcome: Literal["passed", "regression", "undecided"]
    reason: str
    warning: bool
    lower: float
    upper: float
    p_value: float
    family_p_value: float


class GateData(_Part):
    """What `safemerge check --json` writes."""

    model_config = ConfigDict(title="Document")

    format: Literal[1] = 1
    safemerge: str
    outcome: Literal["passed", "regression", "undecided"]
    exit_status: Literal[0, 1, 2]
    baseline: str
    candidate: str
    baseline_date: str
    candidate_date: str
    accepted: list[Accepted]
    checks: list[CheckResult]
    groups: list[GroupResult]
    missing: list[str]
    untold: list[UntoldResult]
    together: TogetherResult | None
    grade: int | None


def gate_data(
    result: GateResult, texts: Mapping[Place, Texts], changes: Iterable[Comparison]
) -> dict[str, Any]:
    """Return the report as values that JSON has.

    Args:
        result: what was decided.
        texts: of questions whose text may be shown.
        changes: of the categories, languages and attacks.
    """
    document = GateData.model_validate(
        {
            "safemerge": version("safemerge"),
            "outcome": result.decision.value,
            "exit_status": result.exit_status,
            "baseline": result.baseline.model,
            "candidate": result.candidate.model,
            "baseline_date": result.baseline.date,
            "candidate_date": result.candidate.date,
            "accepted": [one._asdict() for one in result.accepted],
            "checks": [_check(one, texts) for one in result.comparisons],
            "groups": list(map(_group, changes)),
            "missing": list(result.missing),
            "untold": [_untold(one) for one in result.untold],
            "together": _together(result.together) if result.together else None,
            "grade": result.grade,
        }
    )
    return document.model_dump()


def _group(one: Comparison) -> dict[str, Any]:
    named = ("task", "judge", "metric", "category", "language", "attack")
    return {
        **{key: getattr(one.check, key) for key in named},
        "baseline": one.baseline.value,
        "candidate": one.candidate.value,
        "change": one.increase.value,
        "lower": max(one.least.lower, -1e300),
        "upper": min(one.most.upper, 1e300),
        "family_p_value": one.family_p,
        "questions": one.questions,
    }


def _together(one: Together) -> dict[str, Any]:
    return {
        "tasks": list(one.tasks),
        "outcome": one.found.decision.value,
        "reason": one.found.reason,
        "warning": one.found.warning,
        "lower": one.least.lower,
        "upper": one.most.upper,
        "p_value": one.least.p_value,
        "family_p_value": one.family_p,
    }


def _untold(one: Untold) -> dict[str, Any]:
    named = {key: getattr(one.check, key) for key in ("task", "judge", "metric", "category")}
    return {**named, "tier": one.check.criteria.tier, "reason": one.reason}


def schema() -> str:
    """Return the schema's text, as it is published in `gate.schema.json`."""
    return json.dumps(GateData.model_json_schema(mode="serialization"), indent=2) + "\n"


def _check(one: Comparison, texts: Mapping[Place, Texts]) -> dict[str, Any]:
    found, check = one.increase, one.check
    return {
        "task": check.task,
        "judge": check.judge,
        "metric": check.metric,
        "category": check.category,
        "outcome": one.decision.value,
        "reason": one.reason,
        "warning": one.warning,
        "tier": check.criteria.tier,
        "grade": one.grade,
        "baseline": one.baseline._asdict(),
        "candidate": one.candidate._asdict(),
        "candidate_lower": max(one.rate.low, -1e300),
        "candidate_upper": min(one.rate.high, 1e300),
        "change": found.value,
        "lower": max(one.least.lower, -1e300),
        "upper": min(one.most.upper, 1e300),
        "confidence": check.criteria.confidence,
        "p_value": one.least.p_value,
        "family_p_value": one.family_p,
        "margin": one.margin,
        "max": check.criteria.max,
        "questions": found.questions,
        "clusters": found.clusters,
        "paired": one.paired,
        "smallest_detectable": one.detectable,
        "questions_needed": one.needed,
        "possible_change": one.possible,
        "better": one.better,
        "worse": [
            {
                "id": flip.id,
                "category": flip.category,
                "language": flip.language,
                **(texts[place(flip)]._asdict() if place(flip) in texts else {}),
            }
            for flip in one.flips
        ],
    }
