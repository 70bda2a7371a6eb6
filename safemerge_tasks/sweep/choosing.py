"""Which grid point of every method is taken, told by validation data alone.

`best-utility` takes the best mean utility among the points that are within the limit: those from
the safest up to the first whose one-sided upper bound of the ASR is above `max_asr`. So the limit
holds with the rule's confidence for what is chosen of a method, however many points there are
(`statistics.search`). Where none is within it, the point with the lowest bound is taken and marked.

With `search` only some points are asked. The best of them that is within the limit, or the one
below it, is taken, whichever has the better utility; nothing where none is within it.

With `groups` a search has a second stage, in which λ differs between groups of layers: from the
best single λ, each group in turn goes ahead of the others. The stages have half of the level each,
so that the limit holds with the rule's confidence for the choice over both (`statistics.search`
says why, and how far ahead). A point of it is taken only if its utility is above that of every
single λ whose utility was asked, with the rule's confidence for all groups together (Bonferroni),
by a paired test on the same questions (`utility_gain`). Of several the best is taken; without any
it stays the single λ.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from merge.recipe.recipe import shown_lambda
from safemerge_tasks.report.tradeoff import pareto
from safemerge_tasks.statistics.search import Walk
from safemerge_tasks.sweep.manifest import Measured, Rule, Tasks, Tuning
from safemerge_tasks.sweep.outcomes import Group, Point, Survey, layer_weights
from safemerge_tasks.sweep.searching import Line, lines
from safemerge_tasks.sweep.utility_gain import surely_better

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
        bound: one-sided upper bound of it, at the confidence that it was tested at.
        utility: mean over the utility tasks, of which more is better; None without any.
        obstacle: why it cannot be chosen; empty if it can.
        within: whether it is within the limit.
        after: whether its bound would be, but a safer point's is not.
    """

    point: Point
    seeds: tuple[int, ...]
    asr: float | None
    bound: float | None
    utility: float | None
    obstacle: str
    within: bool
    after: bool = False


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
        candidates: all grid points, in the manifest's order; of a second stage those it asked.
        reason: why this one, in words.
        notes: what else has to be known.
        group: what was measured of the chosen point.
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
    group: Group | None = None

    @property
    def eligible(self) -> tuple[Candidate, ...]:
        """The points that satisfy the rule; none where the limit is out of reach."""
        return tuple(one for one in self.candidates if not one.obstacle and one.within)


def choose_from(survey: Survey) -> list[Choice]:
    """Return the choice for every fine-tuning and method, in the manifest's order."""
    return [
        _choose(survey, tuning, method, label, points)
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
    weights = layer_weights(point or ())
    found = [
        f"{names.get(name, name[:NAME_LIMIT])} = {value:g}"
        for name, value in point or ()
        if name not in weights
    ]
    return ", ".join([shown_lambda(weights), *found] if weights else found)


def passes(group: Group, tasks: Sequence[Measured], limit: float, confidence: float) -> bool | None:
    """Return whether a point's ASR is surely at most a limit; None if it has not been asked."""
    complete = group.complete("validation", tasks)
    if len(complete) < len(group.variants):
        return False if any(one.stopped or one.failure for one in group.variants) else None
    if group.unscored("validation", tasks):
        return False
    bound = group.bound(tasks, confidence)
    return bound is not None and bound <= limit


def _choose(
    survey: Survey, tuning: Tuning, method: str, label: str, points: Sequence[Group]
) -> Choice:
    rule, tasks = survey.manifest.choose, tuning.validation
    seeds, notes = _expected(points, tasks)
    found: dict[Point, Candidate] = {}
    walks: list[tuple[Line, Walk]] = []
    for line in lines(points, tasks.safety, rule, survey.tuned(tuning.name)):
        if rule.search:
            walks.append((line, _searched(line, tasks, seeds, rule, found)))
            best = walks[-1][1].best
            ahead = [] if best is None else line.second_stage(best)
            walks += [(one, _searched(one, tasks, seeds, rule, found)) for one in ahead]
        else:
            _in_order(line, tasks, seeds, rule, found)
    candidates = tuple(found[one.point] for one in points if one.point in found)
    able = [one for one in candidates if not one.obstacle]
    if rule.search:
        single = [one for one in points if not one.by_layers]
        asked = sum(bool(one.complete("validation", tasks.safety)) for one in single)
        walked = [found[one.point] for one in single]
        ended = all(walk.open is None for _, walk in walks)
        chosen, reason = _best_found(walked, rule, asked, ended=ended)
        if rule.groups and chosen:
            chosen, said = _by_layers(survey, tasks, walks, found, chosen)
            reason += said
    elif not able:
        chosen, reason = None, "no grid point has complete results"
    elif rule.rule == "knee":
        chosen, reason = _knee(able)
    else:
        chosen, reason = _best_utility(able, rule, len(candidates))
    return Choice(
        tuning.name,
        method,
        label,
        chosen.point if chosen else None,
        in_words(rule),
        chosen is not None and (chosen.within or rule.rule == "knee"),
        chosen.asr if chosen else None,
        chosen.bound if chosen else None,
        chosen.utility if chosen else None,
        candidates,
        reason,
        tuple(notes),
        next((one for one in points if chosen and one.point == chosen.point), None),
    )


def _in_order(
    line: Line, tasks: Tasks, seeds: set[int], rule: Rule, found: dict[Point, Candidate]
) -> None:
    """Judge all points of a line; one without a result is passed over, it tells nothing of harm."""
    safe = True
    for group in line.groups:
        one = _candidate(group, tasks, seeds, rule, 1 - line.level)
        missing = bool(one.obstacle) and not group.unscored("validation", tasks.safety)
        safe &= one.within or missing
        found[one.point] = replace(one, within=one.within and safe, after=one.within and not safe)


def _searched(
    line: Line, tasks: Tasks, seeds: set[int], rule: Rule, found: dict[Point, Candidate]
) -> Walk:
    """Judge the points that a search asked, and return it."""
    search = line.walk(
        lambda group, confidence: passes(group, tasks.safety, rule.max_asr, confidence)
    )
    levels = {test.point: test.level for test in search.tests}
    best = search.best
    for number, group in enumerate(line.groups):
        if line.by_layers and number not in levels:
            continue
        one = _candidate(group, tasks, seeds, rule, 1 - levels.get(number, line.level))
        if best is not None and group in line.wanted(best):
            utility = _utility(group, tasks.utility)
            lacking = bool(tasks.utility) and utility is None
            obstacle = _lacking(group, tasks.utility, set()) if lacking else ""
            # Where harm grows along the line, what is below is within the limit of what passed.
            passed = line.groups[best].bound(tasks.safety, 1 - levels[best])
            bound = passed if one.bound is None else one.bound
            one = replace(one, obstacle=obstacle, within=True, bound=bound, utility=utility)
        elif stopped := next((v.stopped for v in group.variants if v.stopped), None):
            one = replace(one, obstacle=stopped)
        elif number not in levels:
            one = replace(one, obstacle="not asked", within=False)
        found[group.point] = one
    return search


def _by_layers(
    survey: Survey,
    tasks: Tasks,
    walks: Sequence[tuple[Line, Walk]],
    found: Mapping[Point, Candidate],
    single: Candidate,
) -> tuple[Candidate, str]:
    """Return what both stages take, and what is to be said of the second one."""
    rule = survey.manifest.choose
    taken = [
        group
        for line, walk in walks
        if walk.best is not None
        for group in line.wanted(walk.best)
        if not found[group.point].obstacle
    ]
    others = [group for group in taken if not group.by_layers]
    lines_ahead = sum(len(line.ahead) for line, _ in walks)
    if not lines_ahead:
        return single, (
            "; λ by groups of layers was not searched, which takes a method whose harm grows with "
            "λ, several λ and enough validation questions for both stages"
        )
    confidence = 1 - (1 - rule.confidence) / lines_ahead
    within = [group for group in taken if group.by_layers]
    better = [
        found[group.point]
        for group in within
        if others
        and all(surely_better(survey, group, one, tasks.utility, confidence) for one in others)
    ]
    if not better:
        return single, (
            f"; by groups of layers nothing better was found: {len(within)} of {lines_ahead} "
            "groups may be ahead within the limit, none with surely more utility"
        )
    return min(better, key=_more_useful), (
        f"; then by groups of layers, with surely more utility than {point_words(single.point)} "
        f"has ({_rounded(single.utility):.1%})"
    )


def _best_found(
    candidates: Sequence[Candidate], rule: Rule, asked: int, *, ended: bool
) -> tuple[Candidate | None, str]:
    total = len(candidates)
    if not ended:
        return None, "the search has not ended; run the sweep again"
    found = [one for one in candidates if one.within]
    if not found:
        return None, f"a search of {total} points found none within {rule.max_asr:.1%}"
    within = [one for one in found if not one.obstacle]
    if not within:
        return None, f"what is within {rule.max_asr:.1%} has no utility"
    said = f"a search of {total} points, {asked} of them asked all questions"
    return min(within, key=_more_useful), said


def _expected(points: Sequence[Group], tasks: Tasks) -> tuple[set[int], list[str]]:
    """Return the seeds that a point has to have, and what is to be said of those no point has."""
    wanted = (*tasks.safety, *tasks.utility)
    planned = {seed for one in points for seed in one.seeds}
    measured = {seed for one in points for seed in one.measured_seeds("validation", wanted)}
    lacking = sorted(planned - measured)
    if not measured or not lacking:
        return measured or planned, []
    named = ", ".join(map(str, lacking))
    return measured, [f"No point has validation results of seed {named}; it is left out."]


def _candidate(
    group: Group, tasks: Tasks, seeds: set[int], rule: Rule, confidence: float
) -> Candidate:
    wanted = tasks.safety if rule.search else (*tasks.safety, *tasks.utility)
    having = group.measured_seeds("validation", wanted)
    safety = group.mean("validation", tasks.safety)
    bound = group.bound(tasks.safety, confidence)
    utility = _utility(group, tasks.utility)
    found = Candidate(group.point, having, safety.value, bound, utility, "", within=False)
    if not group.complete("validation", wanted) or set(having) < seeds:
        return replace(found, obstacle=_lacking(group, wanted, seeds - set(having)))
    if high := group.unscored("validation", tasks.safety):
        return replace(found, obstacle=f"more than 5 % of {', '.join(high)} is unscored")
    if safety.value is None or (not rule.search and tasks.utility and utility is None):
        return replace(found, obstacle="a result has no value")
    if bound is None and rule.rule == "best-utility":
        return replace(found, obstacle="without samples or counts its ASR has no bound")
    return replace(found, within=bound is None or rule.rule == "knee" or bound <= rule.max_asr)


def _utility(group: Group, tasks: Sequence[Measured]) -> float | None:
    """Return the mean utility; a metric of which less is better counts as its negative."""
    if not tasks:
        return None
    found = []
    for task in tasks:
        pooled = group.pooled["validation"].get(task)
        if pooled is None or pooled.value is None:
            return None
        values = (cell.values.get(task) for cell in group.cells["validation"])
        more = next(value.more_is_better for value in values if value)
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


def _best_utility(able: Sequence[Candidate], rule: Rule, total: int) -> tuple[Candidate, str]:
    within = [one for one in able if one.within]
    if within:
        said = f"the best utility of {len(within)} of {total} points within the limit"
        return min(within, key=_more_useful), said
    said = f"no point's bound is within {rule.max_asr:.1%}; this is the lowest bound"
    return min(able, key=_safer), said


def _knee(able: Sequence[Candidate]) -> tuple[Candidate, str]:
    if any(one.utility is None for one in able):
        return min(able, key=_safer), "without a utility task, the lowest bound"
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
        return knee[0], "the front is this one point"
    if height(knee[1]) <= 0:
        return knee[0], f"the front of {distinct} points has no knee; this is its safer end"
    return knee[0], f"furthest above the chord of a front of {distinct} points"


def _safer(one: Candidate) -> tuple[float, float, float, Point]:
    """Return what sorts safer points first; the same order on every machine."""
    bound = one.asr if one.bound is None else one.bound
    return _rounded(bound), _rounded(one.asr), -_rounded(one.utility), one.point


def _more_useful(one: Candidate) -> tuple[Any, ...]:
    return -_rounded(one.utility), *_safer(one)


def _rounded(value: float | None) -> float:
    return 0.0 if value is None else round(value, DECIMALS)
