"""Which points of a method's grid are within the limit, with confidence for the one that is taken.

A grid is searched along λ from the smallest, else along gamma from the largest: from the safest.
Where other parameters vary too, each of their combinations is a line of its own, and the lines
share the level. With `groups`, a line along which harm grows leaves half of its level to a second
stage, in which λ differs between groups of layers. `statistics.search` says why the limit holds for
what is chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from safemerge_tasks.statistics.search import IN_ORDER, Walk, further, walk
from safemerge_tasks.sweep.manifest import Measured, Rule
from safemerge_tasks.sweep.outcomes import Group, Point, layer_weights

GROWING = frozenset({"linear", "slerp", "task-arithmetic", "resta"})
"""Methods whose harm grows along the line; not where deltas are dropped at random as well."""

Passes = Callable[[Group, float], bool | None]
"""Whether a grid point passes at a confidence; None if that is not known yet."""

_DROPS = "drop_rate"


@dataclass(frozen=True)
class Line:
    """Grid points from the safest, in the order of one parameter.

    Attributes:
        groups: the points.
        level: the chance that what is taken of it is above the limit.
        failures: how many tests may fail; see `statistics.search`.
        ahead: the second stage's, one a group of layers, which is ahead of the others there.
        level_ahead: the chance that what is taken of one of those is above the limit.
    """

    groups: tuple[Group, ...]
    level: float
    failures: int
    ahead: tuple[tuple[Group, ...], ...] = ()
    level_ahead: float = 0.0

    @property
    def by_layers(self) -> bool:
        """Whether it is a line of the second stage."""
        return any(one.by_layers for one in self.groups)

    def second_stage(self, best: int) -> "list[Line]":
        """Return the lines to search after the best point of this one is known."""
        tested = further(best, len(self.groups))
        return [
            Line(tuple(line[number] for number in tested), self.level_ahead, IN_ORDER)
            for line in self.ahead
            if tested
        ]

    def walk(self, passes: Passes) -> Walk:
        """Return the search along the line as far as its outcomes are known."""
        return walk(
            len(self.groups),
            self.level,
            lambda point, level: passes(self.groups[point], 1 - level),
            self.failures,
        )

    def wanted(self, best: int) -> tuple[Group, ...]:
        """Return the points whose utility is asked: the best that passed, and the one below it.

        In the second stage, where it has to be better than others, the best alone.
        """
        return self.groups[best if self.by_layers else max(best - 1, 0) : best + 1]


def lines(
    points: Sequence[Group], tasks: Sequence[Measured], rule: Rule, shape: Group | None
) -> list[Line]:
    """Return the lines of a method's grid; those of a second stage are in them.

    Args:
        points: all of its grid.
        tasks: the safety tasks.
        rule: whose limit has to hold.
        shape: the fine-tuned models, whose answers tell how many questions there are.
    """
    along: dict[Point, list[Group]] = {}
    single = [one for one in points if not one.by_layers]
    axis = _axis([one.point for one in single])
    for one in single:
        rest = tuple(pair for pair in one.point if pair[0] != axis)
        along.setdefault(rest, []).append(one)
    whole = (1 - rule.confidence) / len(along)
    found = []
    for rest, groups in along.items():
        level, ahead = whole, _ahead(points, rest)
        level_ahead = whole / 2 / len(ahead) if ahead else 0.0
        if ahead and _affordable(IN_ORDER, groups[0], tasks, rule, level_ahead, shape):
            level = whole / 2
        else:
            ahead = ()
        ordered = sorted(groups, key=lambda one: dict(one.point).get(axis, 0.0))
        if axis == "gamma":
            ordered.reverse()
        bisected = grows(groups[0].method or "", dict(groups[0].point), rule)
        failures = len(ordered) if bisected else IN_ORDER
        if rule.search:
            failures = _affordable(failures, groups[0], tasks, rule, level, shape)
        found.append(Line(tuple(ordered), level, failures, ahead, level_ahead))
    return found


def _axis(points: Sequence[Point]) -> str:
    """Return the parameter that harm is searched along."""
    values = {name: {dict(point)[name] for point in points} for name, _ in points[0]}
    varied = [name for name, found in values.items() if len(found) > 1]
    return next((name for name in ("lambda", "gamma") if name in varied), "")


def _ahead(points: Sequence[Group], rest: Point) -> tuple[tuple[Group, ...], ...]:
    """Return a line's second stage: for each group of layers the points where it is ahead."""
    lines: dict[str, list[Group]] = {}
    for one in points:
        values = layer_weights(one.point)
        if values and tuple(pair for pair in one.point if pair[0] not in values) == rest:
            lines.setdefault(max(values, key=values.__getitem__), []).append(one)
    for line in lines.values():
        line.sort(key=lambda one: max(layer_weights(one.point).values()))
    return tuple(map(tuple, lines.values()))


def grows(method: str, point: Mapping[str, float], rule: Rule) -> bool:
    """Return whether harm grows with λ, by a method or as the rule says; see `GROWING`."""
    if rule.search == "auto":
        return method in GROWING and not point.get(_DROPS)
    return rule.search == "bisect"


def _affordable(
    failures: int,
    group: Group,
    tasks: Sequence[Measured],
    rule: Rule,
    level: float,
    shape: Group | None,
) -> int:
    """Return for how many failures there are enough questions to divide the level by; 0 for none.

    With none harmful of all a point has to pass.
    """
    if shape is None:
        return IN_ORDER
    for count in range(failures, 0, -1):
        bound = shape.bound_at_best(tasks, 1 - level / count, len(group.variants), {})
        if bound is None or bound <= rule.max_asr:
            return count
    return 0
