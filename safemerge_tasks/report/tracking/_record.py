"""What a tracker gets of a comparison or a model: names, settings and figures, and no text."""

import math
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import NamedTuple

from safemerge_tasks.gate.comparison import Comparison
from safemerge_tasks.gate.decision import GateResult
from safemerge_tasks.report.document import Name
from safemerge_tasks.report.measured import measured
from safemerge_tasks.report.reading import Model

_NOT_IN_KEYS = re.compile(r"[^\w -]")
"""What one tracker or another refuses in the name of a figure, or takes for a path."""

_PART = 60
"""Characters of a part."""

_WHOLE = 230
"""Characters before the last part; MLflow takes 250 of a whole name."""


class Record(NamedTuple):
    """One run, as trackers call it.

    Attributes:
        name: of the run.
        settings: what was compared or measured, in words.
        figures: `task/judge/metric/…` → a finite number.
    """

    name: str
    settings: Mapping[str, str]
    figures: Mapping[str, float]


def of_gate(result: GateResult, policy: str) -> Record:
    """Return a comparison: the verdict, and every check's values, change and bounds.

    Args:
        result: what was decided.
        policy: by what, as the report calls it.
    """
    settings = {
        "baseline": result.baseline.model,
        "candidate": result.candidate.model,
        "baseline_date": result.baseline.date,
        "candidate_date": result.candidate.date,
        "policy": policy,
        "outcome": result.decision.value,
        "accepted": ", ".join(f"{one.task}: {one.what}" for one in result.accepted),
    }
    figures: dict[tuple[str, ...], float] = {("exit_status",): float(result.exit_status)}
    if result.grade is not None:
        figures["grade",] = float(result.grade)
    for one in result.comparisons:
        place = _place(one)
        figures |= {
            (*place, "baseline"): one.baseline.value,
            (*place, "candidate"): one.candidate.value,
            (*place, "change"): one.increase.value,
            (*place, "lower"): one.least.lower,
            (*place, "upper"): one.most.upper,
        }
    return _record(result.candidate.model, settings, figures)


def of_model(model: Model) -> Record:
    """Return a model's foremost figures with their intervals."""
    figures: dict[tuple[str, ...], float] = {}
    for one in measured(model):
        ends = {"value": one.measure.value, "low": one.measure.low, "high": one.measure.high}
        figures |= {
            (one.task.name, one.judge, one.metric, what): value
            for what, value in ends.items()
            if value is not None
        }
    return _record(model.label, {"model": model.name, "date": model.evaluation.date}, figures)


def _place(one: Comparison) -> tuple[str, ...]:
    check = one.check
    return check.task, check.judge, check.metric, *filter(None, (check.category, check.language))


def _record(
    name: str, settings: Mapping[str, str], figures: Mapping[tuple[str, ...], float]
) -> Record:
    kept = {key: Name(value).shown for key, value in settings.items() if value}
    named: dict[str, float] = {}
    for parts, value in figures.items():
        if math.isfinite(value):
            named[_free(_key(parts), named)] = value
    return Record(Name(name).shown, {**kept, "safemerge": version("safemerge")}, named)


def _key(parts: Iterable[str]) -> str:
    named = [_NOT_IN_KEYS.sub("_", part)[:_PART].strip() or "_" for part in parts]
    # The last says which figure it is; a number may follow.
    return f"{'/'.join(named[:-1])[:_WHOLE].rstrip(' /')}/{named[-1]}".lstrip("/")


def _free(key: str, taken: Mapping[str, float]) -> str:
    """Return the key, numbered where another name is written alike."""
    tries = (key if number == 1 else f"{key}-{number}" for number in range(1, len(taken) + 2))
    return next(one for one in tries if one not in taken)
