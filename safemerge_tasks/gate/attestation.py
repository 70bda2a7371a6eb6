"""What a comparison found, as an in-toto statement (v1) about the files that it rests on.

The subjects are the candidate's results and samples; the predicate has the verdict, what was
compared with what and by which policy, and who judged. Every file is named with its SHA-256.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.comparison import Comparison
from safemerge_tasks.gate.decision import GateResult, Untold
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.results import is_results_file
from safemerge_tasks.results.evaluation import Evaluation
from safemerge_tasks.results.loading import latest_files

PREDICATE: Literal["urn:safemerge:gate:v1"] = "urn:safemerge:gate:v1"
"""The type of the predicate; another number where its meaning changes."""

Role = Literal["candidate", "baseline", "policy"]

Outcome = Literal["passed", "regression", "undecided"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Part):
    """A file, as in-toto describes resources."""

    name: str
    digest: dict[Literal["sha256"], str]


class Side(_Part):
    """One evaluation."""

    model: str
    date: str
    files: list[File] = Field(min_length=1)


class Decided(_Part):
    """One check, as it came out."""

    task: str
    judge: str
    metric: str
    category: str | None
    outcome: Outcome
    tier: str
    change: float | None
    lower: float | None
    upper: float | None
    reason: str


class Predicate(_Part):
    """What `PREDICATE` stands for."""

    tool: dict[Literal["name", "version"], str]
    created: str
    outcome: Outcome
    grade: int | None
    baseline: Side
    candidate: Side
    policy: dict[str, Any]
    policy_file: File | None
    judges: dict[str, dict[str, Any]]
    accepted: list[str]
    missing: list[str]
    checks: list[Decided]


class Statement(BaseModel):
    """The whole statement."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    kind: Literal["https://in-toto.io/Statement/v1"] = Field(
        alias="_type", default="https://in-toto.io/Statement/v1"
    )
    subject: list[File] = Field(min_length=1)
    predicate_type: Literal["urn:safemerge:gate:v1"] = Field(
        alias="predicateType", default=PREDICATE
    )
    predicate: Predicate


def statement(
    result: GateResult, asked: Policy, baseline: Path, candidate: Path, policy: Path | None
) -> bytes:
    """Return the statement on a comparison as JSON.

    Args:
        result: what was decided.
        asked: by what.
        baseline: lm-eval's folder, one of its results files, or a frozen baseline.
        candidate: likewise.
        policy: the file; None for the default.
    """
    sides = {
        "baseline": _side(result.baseline, baseline),
        "candidate": _side(result.candidate, candidate),
    }
    predicate = Predicate(
        tool={"name": "safemerge", "version": version("safemerge")},
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        outcome=result.decision.value,
        grade=result.grade,
        policy=asked.model_dump(exclude_none=True),
        policy_file=_file(policy, policy.parent) if policy else None,
        judges={
            task: {name: dict(identity) for name, identity in found.judges.items()}
            for task, found in result.candidate.tasks.items()
            if found.judges
        },
        accepted=[f"{one.task}: {one.what} ({one.detail})" for one in result.accepted],
        missing=list(result.missing),
        checks=_checks(result),
        **sides,
    )
    found = Statement(subject=predicate.candidate.files, predicate=predicate)
    plain = found.model_dump(mode="json", by_alias=True)
    return json.dumps(plain, sort_keys=True, ensure_ascii=True, indent=2).encode("ascii")


def read_statement(payload: bytes, source: Path) -> Statement:
    """Return a statement that `statement` made.

    Raises:
        SafemergeError: it is something else.
    """
    try:
        found = Statement.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise SafemergeError(
            f"{source} is a statement of another kind ({place}: {first['msg']}); "
            "give one of `safemerge check --attest`."
        ) from error
    if found.subject != found.predicate.candidate.files:
        raise SafemergeError(f"{source} has other subjects than the candidate's files.")
    return found


def check_files(found: Statement, given: Mapping[Role, Path], source: Path) -> list[str]:
    """Return the names of the files that are as they were when the statement was made.

    Args:
        found: the statement.
        given: where the files of each role are.
        source: of the statement.

    Raises:
        SafemergeError: one is missing, has another content, or is one more.
    """
    predicate = found.predicate
    expected: dict[Role, Sequence[File]] = {
        "candidate": predicate.candidate.files,
        "baseline": predicate.baseline.files,
        "policy": [predicate.policy_file] if predicate.policy_file else [],
    }
    checked = []
    for role, place in given.items():
        if not expected[role]:
            raise SafemergeError(f"{source} was made without a {role} file; leave {place} out.")
        now = {one.name: one for one in _files(place)}
        for one in expected[role]:
            if one.name not in now:
                raise SafemergeError(
                    f"{place} has no {one.name}, which the {role} of {source} had; give the files "
                    "that were compared."
                )
            if now[one.name] != one:
                raise SafemergeError(
                    f"{place}: {one.name} is not the file that {source} attests (SHA-256 "
                    f"{now[one.name].digest['sha256'][:12]}…, then {one.digest['sha256'][:12]}…)."
                )
            checked.append(one.name)
        if more := sorted(set(now) - {one.name for one in expected[role]}):
            raise SafemergeError(
                f"{place} has {more[0]}, which {source} knows nothing of; give the files that were "
                "compared."
            )
    return checked


def _side(evaluation: Evaluation, place: Path) -> Side:
    return Side(model=evaluation.model, date=evaluation.date, files=_files(place))


def _files(place: Path) -> list[File]:
    """Return what an evaluation is read from, by the names that lm-eval gives."""
    if place.is_file() and not is_results_file(place):
        return [_file(place, place.parent)]
    paths = latest_files(place)
    top = place if place.is_dir() else place.parent
    return [_file(path, top) for path in paths]


def _file(path: Path, top: Path) -> File:
    try:
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SafemergeError(f"{path} cannot be read ({error.strerror}).") from error
    return File(name=path.relative_to(top).as_posix(), digest={"sha256": digest})


def _checks(result: GateResult) -> list[Decided]:
    told = [
        _decided(
            one,
            one.decision.value,
            one.increase.value,
            max(one.least.lower, -1e300),
            min(one.most.upper, 1e300),
        )
        for one in result.comparisons
    ]
    untold = [_decided(one, "undecided", None, None, None) for one in result.untold]
    return told + untold


def _decided(
    one: Comparison | Untold,
    outcome: Outcome,
    change: float | None,
    lower: float | None,
    upper: float | None,
) -> Decided:
    return Decided(
        task=one.check.task,
        judge=one.check.judge,
        metric=one.check.metric,
        category=one.check.category,
        outcome=outcome,
        tier=one.check.criteria.tier or "block",
        change=change,
        lower=lower,
        upper=upper,
        reason=one.reason,
    )
