"""Which of several rising doses may be taken, so that a limit holds for the one that is.

A point is tested against the limit at a level: the chance that it passes although its true rate is
above the limit. Testing m points and taking the best that passes errs up to m times as often. Two
searches keep the chance of a wrong choice at the level of the whole, however much one point's
answers depend on another's:

- In order, from the safest point up, at the full level each, until one fails (fixed-sequence
  testing, Westfall and Krishen 2001, J. Statistical Planning and Inference 99(1); Angelopoulos et
  al. 2021, Learn then Test, 2110.01052). The choice can only be wrong if the first point above the
  limit passes, and that is one test. Harm need not grow with the dose.
- By bisection, where harm grows with the dose: every point below one that passes is within the
  limit. Up to the first wrong pass all tested points above the limit have failed, and those within
  it have passed or ended the search below themselves. So the order alone settles which points above
  the limit are tested, and their levels may be added up. A level that failed is used up, one that
  passed is kept (as in Bretz et al. 2009, Statistics in Medicine 28(4)); what is left is divided
  by the failures that may still come. With room for one failure this is the search in order.

After the search over one dose there may be a second stage, where the dose differs between groups,
such as groups of layers. It has one line of points for each group, laid down beforehand: that
group's dose is some places ahead of what all others have (`line_ahead`). Where harm grows with each
group's dose, what is nowhere beyond the best of the first stage is within the limit if that is;
what comes next in the line, up to the best, is tested in order (`further`). Where a line is
entered depends on the first stage. Which of its points is the first above the limit does
not, and what is taken of the line is above it only if that one passes. So stages and lines divide
the level: if the first stage has half of it, and each of n lines 1/n of the other half, the choice
is wrong at most as often as the whole level says, over both stages and however the answers depend
on each other. Which of the points that pass is taken may rest on anything else, such as utility.

A test that is stopped as soon as it can no longer pass passes exactly as often as one that is not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

LEAD = 0.25
"""How far a group is ahead of the others in the second stage, as a share of the doses."""

Outcome = Callable[[int, float], bool | None]
"""Whether a point passes at a level; None if that is not known yet."""

IN_ORDER = 1
"""The failures that a search in order has room for."""

FAILURE_COST = 0.25
"""Questions that a point takes until it fails, as a share of those that it takes to pass."""


@dataclass(frozen=True)
class Test:
    """One point's test.

    Attributes:
        point: its number, from the safest.
        level: the chance to pass if its true rate is above the limit.
        passed: the outcome; None if it is not known yet.
    """

    point: int
    level: float
    passed: bool | None


@dataclass(frozen=True)
class Walk:
    """A search as far as its outcomes are known.

    Attributes:
        tests: in their order; the last one may be open.
    """

    tests: tuple[Test, ...]

    @property
    def open(self) -> Test | None:
        """The test that has to be done next; None at the end."""
        return next((test for test in self.tests if test.passed is None), None)

    @property
    def best(self) -> int | None:
        """The largest dose that passed so far; None if none did."""
        return max((test.point for test in self.tests if test.passed), default=None)


def walk(points: int, level: float, outcome: Outcome, failures: int = IN_ORDER) -> Walk:
    """Return a search over points that are numbered from the safest.

    Args:
        points: how many there are.
        level: the chance that the choice is wrong, such as 0.05.
        outcome: called for each test in turn, until it does not know one.
        failures: the level may be divided by that many; more need fewer tests, and harm that grows
            with the dose.
    """
    tests = []
    low, high = 0, points
    while low < high and failures:
        plan = _plan(high - low, failures)
        point, share = low + plan.first - 1, level / plan.failures
        passed = outcome(point, share)
        tests.append(Test(point, share, passed))
        if passed is None:
            break
        if passed:
            low = point + 1
        else:
            high, level, failures = point, level - share, failures - 1
    return Walk(tuple(tests))


def line_ahead(doses: int) -> list[tuple[int, int]]:
    """Return a line of the second stage: the dose of all other groups, and of the one ahead.

    Two points for each `LEAD`, where that is so many doses: more of them cost more than they gain.

    Args:
        doses: how many there are; they are numbered from the safest.
    """
    lead = max(1, int(LEAD * doses))
    return [(others, others + lead) for others in range(0, doses - lead, max(1, lead // 2))]


def further(best: int, doses: int) -> list[int]:
    """Return which points of a line of the second stage are tested, by their number in it.

    Args:
        best: the largest dose that passed in the first stage.
        doses: how many there are.
    """
    line = enumerate(line_ahead(doses))
    return [number for number, (others, own) in line if others <= best < own]


@dataclass(frozen=True, order=True)
class _Plan:
    """The best order to test some points in.

    Attributes:
        cost: questions at worst, in those that one pass takes.
        failures: the most that can come.
        first: the point to test first, counted from 1 at the safest.
    """

    cost: float
    failures: int
    first: int


@cache
def _plan(points: int, failures: int) -> _Plan:
    """Return the order of least cost at worst; of equals, the one with the fewest failures."""
    if points == 0:
        return _Plan(0.0, 0, 0)
    found = []
    for first in range(1, points + 1):
        if first > 1 and failures == 1:
            break
        failing = _plan(first - 1, failures - 1)
        passing = _plan(points - first, failures)
        cost = max(FAILURE_COST + failing.cost, 1 + passing.cost)
        found.append(_Plan(cost, max(1 + failing.failures, passing.failures), first))
    return min(found)
