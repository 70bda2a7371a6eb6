"""Which grid point of every method is taken, told by validation data alone.

`best-utility` takes the best mean utility among the points whose one-sided upper bound of the ASR
is at most `max_asr`. Where none is, the point with the lowest bound is taken, and marked.

`knee` takes the knee of the Pareto front of (ASR, utility): of the points that no other one beats
in both, with both axes scaled to [0, 1] over the front, the one furthest above the chord between
the front's safest and most useful end (Das 1999, Structural Optimization 18(2); Satopaa et al. 2011
use the same distance). Points below the chord are no knee: then, and on a front of two points, the
safer end is taken; a front of one point is that point.

ASR and utility are plain means over the tasks, each pooled over the seeds (see `pooling`). Values
that are equal to 12 decimals tie; ties go to the lower bound, then the lower ASR, then the better
utility, then the smaller grid values, in the order of the parameters' names.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safemerge_tasks.report.tradeoff import pareto
from safemerge_tasks.sweep.manifest import Manifest, Measured, Rule, Tasks, Tuning
from safemerge_tasks.sweep.outcomes import Group, Point, Survey, read_sweep

DECIMALS = 12

NAME_LIMIT = 40
"""A parameter's name is shown up to that length."""


@dataclass(frozen=True)
class Candidate:
    """A grid point on validation data.

    Attributes:
        point: the grid's values.
        seeds: whose results count.
        asr: mean over the safety tasks; None where a result is missing.
        bound: one-sided upper bound of it.
        utility: mean over the utility tasks, of which more is better; None without any.
        obstacle: why it cannot be chosen; empty if it can.
        within: whether the bound is at most the limit.
    """

    point: Point
    seeds: tuple[int, ...]
    asr: float | None
    bound: float | None
    utility: float | None
    obstacle: str
    within: bool


@dataclass(frozen=True)
class Choice:
    """What is taken of one method for one fine-tuning.

    Attributes:
        tuning: the fine-tuning's name.
        method: the merge method.
        label: what tables call it.
        point: the chosen grid point; None where nothing can be chosen.
        rule: the rule, in words.
        meets: whether the bound is within the rule's limit; for `knee` there is no limit.
        asr: on validation data.
        bound: one-sided upper bound of it.
        utility: on validation data.
        candidates: all grid points, in the manifest's order.
        reason: why this one, in words.
        notes: what else has to be known.
    """

    tuning: str
    method: str
    label: str
    point: Point | None
    rule: str
    meets: bool
    asr: float | None
    bound: float | None
    utility: float | None
    candidates: tuple[Candidate, ...]
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def eligible(self) -> tuple[Candidate, ...]:
        """The points that satisfy the rule; none where the limit is out of reach."""
        return tuple(one for one in self.candidates if not one.obstacle and one.within)


def choose(manifest: Manifest, folder: Path) -> list[Choice]:
    """Return the choice for every fine-tuning and method, in the manifest's order.

    Args:
        manifest: what was evaluated.
        folder: the sweep's output.
    """
    return choose_from(read_sweep(manifest, folder))


def choose_from(survey: Survey) -> list[Choice]:
    """Return the choices of a sweep that is already read."""
    return [
        _choose(tuning, method, label, points, survey.manifest.choose)
        for tuning in survey.manifest.tunings
        for (method, label), points in survey.methods(tuning.name).items()
    ]


def in_words(rule: Rule) -> str:
    """Return the rule as a sentence's part."""
    if rule.rule == "knee":
        return "the knee of the Pareto front of ASR and utility"
    return (
        f"the best utility whose ASR is at most {rule.max_asr:.1%} with {rule.confidence:.0%} "
        "confidence"
    )


def point_words(point: Point | None) -> str:
    """Return a grid point as in `λ = 0.4, drop_rate = 0.3`."""
    names = {"lambda": "λ"}
    return ", ".join(
        f"{names.get(name, name[:NAME_LIMIT])} = {value:g}" for name, value in point or ()
    )


def _choose(
    tuning: Tuning, method: str, label: str | None, points: Sequence[Group], rule: Rule
) -> Choice:
    seeds, notes = _expected(points, tuning.validation)
    candidates = tuple(_candidate(one, tuning.validation, seeds, rule) for one in points)
    able = [one for one in candidates if not one.obstacle]
    chosen, meets, reason = (
        _knee(able) if rule.rule == "knee" else _best_utility(able, rule, len(candidates))
    )
    return Choice(
        tuning.name,
        method,
        label or method,
        chosen.point if chosen else None,
        in_words(rule),
        meets,
        chosen.asr if chosen else None,
        chosen.bound if chosen else None,
        chosen.utility if chosen else None,
        candidates,
        reason,
        tuple(notes),
    )


def _expected(points: Sequence[Group], tasks: Tasks) -> tuple[set[int], list[str]]:
    """Return the seeds that a point has to have, and what is to be said of those no point has."""
    wanted = (*tasks.safety, *tasks.utility)
    planned = {seed for one in points for seed in one.seeds}
    measured = {
        seed
        for one in points
        for cell in one.complete("validation", wanted)
        for seed in cell.variant.seeds
    }
    lacking = sorted(planned - measured)
    if not measured or not lacking:
        return measured or planned, []
    named = ", ".join(map(str, lacking))
    return measured, [f"No point has validation results of seed {named}; it is left out."]


def _candidate(group: Group, tasks: Tasks, seeds: set[int], rule: Rule) -> Candidate:
    wanted = (*tasks.safety, *tasks.utility)
    complete = group.complete("validation", wanted)
    having = tuple(sorted({seed for cell in complete for seed in cell.variant.seeds}))
    safety = group.mean("validation", tasks.safety)
    utility = _utility(group, tasks.utility)
    found = Candidate(group.point, having, safety.value, safety.bound, utility, "", within=False)
    if not tasks.safety:
        return replace(found, obstacle="there is no safety task on validation data")
    if not complete or set(having) < seeds:
        return replace(found, obstacle=_lacking(group, wanted, seeds - set(having)))
    high = [
        one.task
        for one in tasks.safety
        if any(cell.values[one].measure.too_many_unscored for cell in complete)
    ]
    if high:
        return replace(found, obstacle=f"more than 5 % of {', '.join(high)} is unscored")
    if safety.value is None or (tasks.utility and utility is None):
        return replace(found, obstacle="a result has no value")
    if safety.bound is None and rule.rule == "best-utility":
        return replace(found, obstacle="without samples or counts its ASR has no bound")
    return replace(
        found, within=safety.bound is None or rule.rule == "knee" or safety.bound <= rule.max_asr
    )


def _utility(group: Group, tasks: Sequence[Measured]) -> float | None:
    """Return the mean utility; a metric of which less is better counts as its negative."""
    if not tasks:
        return None
    found = []
    for task in tasks:
        pooled = group.pooled["validation"].get(task)
        if pooled is None or pooled.value is None:
            return None
        more = group.more_is_better("validation", task)
        found.append(pooled.value if more else -pooled.value)
    return math.fsum(found) / len(found)


def _lacking(group: Group, wanted: Sequence[Measured], seeds: set[int]) -> str:
    reasons = dict.fromkeys(
        cell.missing[task]
        for cell in group.cells["validation"]
        for task in wanted
        if task in cell.missing
    )
    said = f" ({'; '.join(reasons)})" if reasons else ""
    named = f"seed {', '.join(map(str, sorted(seeds)))}" if seeds else "the validation result"
    return f"{named} is missing{said}"


def _best_utility(
    able: Sequence[Candidate], rule: Rule, total: int
) -> tuple[Candidate | None, bool, str]:
    if not able:
        return None, False, "no grid point has complete results"
    within = [one for one in able if one.within]
    if within:
        best = min(within, key=lambda one: (-_rounded(one.utility), *_safer(one)))
        return best, True, f"the best utility of {len(within)} of {total} points within the limit"
    lowest = min(able, key=_safer)
    return (
        lowest,
        False,
        f"no point's bound is within {rule.max_asr:.1%}; this is the lowest bound",
    )


def _knee(able: Sequence[Candidate]) -> tuple[Candidate | None, bool, str]:
    if not able:
        return None, False, "no grid point has complete results"
    if any(one.utility is None for one in able):
        return min(able, key=_safer), True, "without a utility task, the lowest bound"
    found = [(_rounded(one.asr), _rounded(one.utility)) for one in able]
    on_front = pareto(found)
    front = [(one, at) for one, at, on in zip(able, found, on_front, strict=True) if on]
    safest, best = min(at for _, at in front), max(at for _, at in front)
    wide, tall = best[0] - safest[0], best[1] - safest[1]

    def height(at: tuple[float, float]) -> float:
        # Above the chord from (0, 0) to (1, 1), up to the factor 1/√2.
        if wide <= 0 or tall <= 0:
            return 0.0
        return round((at[1] - safest[1]) / tall - (at[0] - safest[0]) / wide, DECIMALS)

    knee = min(front, key=lambda one: (-height(one[1]), one[1][0], *_safer(one[0])))
    distinct = len({at for _, at in front})
    if distinct == 1:
        return knee[0], True, "the front is this one point"
    if height(knee[1]) <= 0:
        return knee[0], True, f"the front of {distinct} points has no knee; this is its safer end"
    return knee[0], True, f"furthest above the chord of a front of {distinct} points"


def _safer(one: Candidate) -> tuple[float, float, float, Point]:
    """Return what sorts safer points first; the same order on every machine."""
    bound = one.asr if one.bound is None else one.bound
    return _rounded(bound), _rounded(one.asr), -_rounded(one.utility), one.point


def _rounded(value: float | None) -> float:
    return 0.0 if value is None else round(value, DECIMALS)
