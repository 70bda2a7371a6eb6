"""Which points of a method's grid are within the limit, with confidence for the one that is taken.

A grid is searched along λ from the smallest, else along gamma from the largest: from the safest.
Where other parameters vary too, each of their combinations is a line of its own, and the lines
share the level. `statistics.search` says why the limit holds for what is chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from safemerge_tasks.statistics.search import IN_ORDER, Walk, walk
from safemerge_tasks.sweep.manifest import Measured, Rule
from safemerge_tasks.sweep.outcomes import Group, Point

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
        bisects: whether what is below a point that passes is within the limit too.
    """

    groups: tuple[Group, ...]
    level: float
    failures: int
    bisects: bool

    def walk(self, passes: Passes) -> Walk:
        """Return the search along the line as far as its outcomes are known."""
        return walk(
            len(self.groups),
            self.level,
            lambda point, level: passes(self.groups[point], 1 - level),
            self.failures,
        )

    def wanted(self, best: int) -> tuple[Group, ...]:
        """Return the points whose utility is asked: the best that passed, and the one below it."""
        return self.groups[max(best - 1, 0) : best + 1]


def lines(
    points: Sequence[Group], tasks: Sequence[Measured], rule: Rule, shape: Group | None
) -> list[Line]:
    """Return the lines of a method's grid.

    Args:
        points: all of its grid.
        tasks: the safety tasks.
        rule: whose limit has to hold.
        shape: the fine-tuned models, whose answers tell how many questions there are.
    """
    along: dict[Point, list[Group]] = {}
    axis = _axis([one.point for one in points])
    for one in points:
        rest = tuple(pair for pair in one.point if pair[0] != axis)
        along.setdefault(rest, []).append(one)
    level = (1 - rule.confidence) / len(along)
    found = []
    for groups in along.values():
        ordered = sorted(groups, key=lambda one: dict(one.point).get(axis, 0.0))
        if axis == "gamma":
            ordered.reverse()
        bisects = _bisects(groups[0], rule)
        failures = len(ordered) if bisects else IN_ORDER
        if rule.search:
            failures = _affordable(failures, groups[0], tasks, rule, level, shape)
        found.append(Line(tuple(ordered), level, failures, bisects))
    return found


def _axis(points: Sequence[Point]) -> str:
    """Return the parameter that harm is searched along."""
    values = {name: {dict(point)[name] for point in points} for name, _ in points[0]}
    varied = [name for name, found in values.items() if len(found) > 1]
    return next((name for name in ("lambda", "gamma") if name in varied), "")


def _bisects(group: Group, rule: Rule) -> bool:
    if rule.search == "auto":
        return group.method in GROWING and not dict(group.point).get(_DROPS)
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
