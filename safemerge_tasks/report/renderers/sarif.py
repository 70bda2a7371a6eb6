"""What got worse as SARIF 2.1.0, which code scanning shows; no text of questions or answers."""

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.metadata import version
from typing import Any, Literal
from urllib.parse import quote

from safemerge_tasks.gate.comparison import Comparison
from safemerge_tasks.gate.decision import GateResult
from safemerge_tasks.gate.groups import PARTS, group_changes, surely, worse
from safemerge_tasks.report.printable import printable
from safemerge_tasks.report.wording import change, questions, side
from safemerge_tasks.statistics.decision import Decision

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

RULES = {
    "check-regression": "A check of the release gate found the candidate worse than the baseline.",
    "category-worse": "A category of questions has more harm in the candidate than the baseline.",
    "language-worse": "A language of questions has more harm in the candidate than the baseline.",
    "attack-worse": "Under an attack there is more harm in the candidate than in the baseline.",
}

Level = Literal["error", "warning", "note"]


def as_sarif(result: GateResult) -> str:
    """Return a result for each check that is a regression, and each group that got worse.

    A group is an error where it is worse for sure and its release is a regression, a warning where
    it is worse for sure, else a note. Each is known again by two fingerprints: of what it is about,
    and of the ids of the questions that are worse.
    """
    regressions = [one for one in result.comparisons if one.decision is Decision.REGRESSION]
    found = [
        *(_result(one, "check-regression", _tier(one), result) for one in regressions),
        *_groups(worse(group_changes(result)), result),
    ]
    driver = {
        "name": "safemerge",
        "version": version("safemerge"),
        "rules": [
            {"id": name, "shortDescription": {"text": text}, "helpUri": _HELP}
            for name, text in RULES.items()
        ],
    }
    run = {"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": found}
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2) + "\n"


_HELP = "https://github.com/ORGANISATION/safemerge/blob/main/docs/gate.md"


def _tier(one: Comparison) -> Level:
    return "error" if one.blocks else "warning" if one.check.criteria.tier == "warn" else "note"


def _groups(found: Iterable[Comparison], result: GateResult) -> Iterator[dict[str, Any]]:
    for one in found:
        level: Level = "note"
        if surely(one):
            level = "error" if result.decision is Decision.REGRESSION else "warning"
        rule = next(f"{part}-worse" for part in (*PARTS, "attack") if getattr(one.check, part))
        yield _result(one, rule, level, result)


def _result(one: Comparison, rule: str, level: Level, result: GateResult) -> dict[str, Any]:
    check = one.check
    about = (check.task, check.judge, check.metric, check.category or "", check.language or "")
    put = (check.attack,) if check.attack else ()
    said = (
        f"{check.task}, {check.name} by {check.judge}: {side(one.baseline)} in the baseline, "
        f"{side(one.candidate)} in the candidate, change for the worse {change(one)} over "
        f"{questions(one)} questions; {len(one.flips):,} are worse and {one.better:,} better."
    )
    return {
        "ruleId": rule,
        "ruleIndex": list(RULES).index(rule),
        "level": level,
        "message": {"text": printable(said)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _address(result)}},
                "logicalLocations": [
                    {
                        "name": printable(
                            check.category or check.language or check.attack or check.task
                        ),
                        "fullyQualifiedName": printable("/".join(filter(None, (*about, *put)))),
                    }
                ],
            }
        ],
        "partialFingerprints": {
            "about/v1": _digest((*about, *put)),
            "questions/v1": _digest(sorted(flip.id for flip in one.flips)),
        },
        "properties": {
            "change": one.increase.value,
            "lower": max(one.least.lower, -1e300),
            "upper": min(one.most.upper, 1e300),
            "family_p_value": one.family_p,
            "questions": one.questions,
        },
    }


def _address(result: GateResult) -> str:
    """Return the candidate's results as a relative address, which code scanning needs."""
    return quote(result.candidate.source.lstrip("/").encode("utf-8", "replace")) or "results"


def _digest(parts: Iterable[str]) -> str:
    text = json.dumps(list(parts))
    return sha256(text.encode("ascii")).hexdigest()
