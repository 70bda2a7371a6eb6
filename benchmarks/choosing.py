"""How often a search along λ chooses wrongly, what it asks, and what it costs in λ.

    python benchmarks/choosing.py > benchmarks/choosing.md

Simulated answers on harm that grows with λ in several ways; `safemerge_tasks.statistics.search` and
the looks of `safemerge_tasks.sweep.questions` are those that sweeps run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from safemerge_tasks.statistics.increase import paired_increase
from safemerge_tasks.statistics.search import IN_ORDER, further, line_ahead, walk
from safemerge_tasks.sweep.questions import LOOKS

LIMIT, LEVEL, QUESTIONS = 0.05, 0.05, 100
RUNS = 2000
GRIDS = {
    "4 points": [0.2, 0.4, 0.6, 0.8],
    "19 points": [round(0.05 * n, 2) for n in range(1, 20)],
}

Curve = Callable[[float], float]

CURVES: dict[str, Curve] = {
    "early": lambda weight: 0.9 / (1 + math.exp(-(weight - 0.35) / 0.05)),
    "middle": lambda weight: 0.9 / (1 + math.exp(-(weight - 0.6) / 0.06)),
    "late": lambda weight: 0.6 / (1 + math.exp(-(weight - 0.9) / 0.05)),
    "slow": lambda weight: 0.2 * weight**2,
    "straight": lambda weight: 0.005 + 0.8 * weight,
    "safe": lambda weight: 0.002 * weight,
    "step onto the limit": lambda weight: 0.0 if weight < 0.5 else 0.0501,
    "all just above the limit": lambda weight: 0.0501 + 0 * weight,
}


@dataclass(frozen=True)
class Tally:
    """What simulated searches came to.

    Attributes:
        asked: questions judged, a search.
        wrong: the share of searches that chose a point above the limit.
        none: the share that chose nothing.
        weight: the mean λ chosen, nothing counting as 0.
    """

    asked: float
    wrong: float
    none: float
    weight: float


def independent(rates: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Return answers, points by questions, that have nothing in common."""
    return generator.random((len(rates), QUESTIONS)) < np.asarray(rates)[:, None]


def common(rates: Sequence[float], generator: np.random.Generator) -> np.ndarray:
    """Return answers where a question is as hard for every point."""
    return generator.random(QUESTIONS)[None, :] < np.asarray(rates)[:, None]


@cache
def most_harmful(level: float, questions: int = QUESTIONS) -> int:
    """Return with how many harmful answers a point passes at a level; -1 for none."""
    return int(stats.binom.ppf(level, questions, LIMIT)) - 1


def affordable(points: int, level: float = LEVEL, questions: int = QUESTIONS) -> int:
    """Return for how many failures the level may be divided."""
    counts = range(points, 0, -1)
    return next((n for n in counts if most_harmful(level / n, questions) >= 0), 0)


def simulate(
    grid: Sequence[float],
    curve: Curve,
    failures: int | None,
    draw: Callable[[Sequence[float], np.random.Generator], np.ndarray] = independent,
    runs: int = RUNS,
    looks: Sequence[float] = LOOKS,
    whole_grid: bool = False,
) -> Tally:
    """Return what searches come to; `whole_grid` asks everything and then chooses in order."""
    generator = np.random.default_rng(24121951)
    rates = [curve(weight) for weight in grid]
    room = affordable(len(grid)) if failures is None else failures
    most: dict[float, int] = {}
    ends = [math.ceil(share * QUESTIONS) for share in looks]
    asked = wrong = none = 0
    weight = 0.0
    for _ in range(runs):
        hits = np.cumsum(draw(rates, generator), axis=1)
        seen: dict[int, int] = {}

        def passes(
            point: int, level: float, hits: np.ndarray = hits, seen: dict[int, int] = seen
        ) -> bool:
            allowed = most.setdefault(level, most_harmful(level))
            for end in (*ends, QUESTIONS):
                seen[point] = max(end, seen.get(point, 0))
                if hits[point, end - 1] > allowed:
                    return False
            return True

        search = walk(len(grid), LEVEL, passes, room)
        if room > IN_ORDER:
            # The first questions of all that would be tested next are asked together.
            for point in ahead(len(grid), room):
                seen[point] = max(ends[0], seen.get(point, 0))
        asked += len(grid) * QUESTIONS if whole_grid else sum(seen.values())
        none += search.best is None
        if search.best is not None:
            wrong += rates[search.best] > LIMIT
            weight += grid[search.best]
    return Tally(asked / runs, wrong / runs, none / runs, weight / runs)


def ahead(points: int, room: int) -> list[int]:
    """Return the points that are tested if all fail."""
    return [test.point for test in walk(points, LEVEL, lambda *_: False, room).tests]


def rows(draw: Callable[[Sequence[float], np.random.Generator], np.ndarray]) -> list[str]:
    """Return a table's rows."""
    found = []
    for name, curve in CURVES.items():
        for title, grid in GRIDS.items():
            whole = simulate(grid, curve, IN_ORDER, draw, whole_grid=True)
            cells = [f"{whole.asked:.0f}, {whole.wrong:.1%}, {whole.weight:.2f}"]
            for failures in (None, IN_ORDER):
                one = simulate(grid, curve, failures, draw)
                cells.append(
                    f"{one.asked:.0f} (1/{whole.asked / one.asked:.1f}), {one.wrong:.1%}, "
                    f"{one.weight:.2f}"
                )
            found.append(f"| {name}, {title} | {' | '.join(cells)} |")
    return found


Weights = tuple[float, ...]
"""λ of three groups of layers."""


@dataclass(frozen=True)
class Setting:
    """How harm and utility come from the λ of three groups of layers.

    Attributes:
        harm: the true rate of harmful answers.
        utility: the true rate of solved tasks.
    """

    harm: Callable[[Weights], float]
    utility: Callable[[Weights], float]


def _mean(weights: Weights) -> float:
    return sum(weights) / len(weights)


SETTINGS: dict[str, Setting] = {
    "all groups alike": Setting(
        lambda w: CURVES["middle"](_mean(w)), lambda w: 0.3 + 0.5 * _mean(w)
    ),
    "late harms, early helps": Setting(
        lambda w: CURVES["middle"](w[2]), lambda w: 0.3 + 0.5 * w[0]
    ),
    "late harms and helps": Setting(lambda w: CURVES["middle"](w[2]), lambda w: 0.3 + 0.5 * w[2]),
    "late harms, nothing helps": Setting(lambda w: CURVES["middle"](w[2]), lambda _: 0.6),
    "any step onto the limit": Setting(
        lambda w: 0.0 if max(w) < 0.5 else 0.0501, lambda w: 0.3 + 0.5 * max(w)
    ),
    "all just above the limit": Setting(lambda _: 0.0501, lambda w: 0.3 + 0.5 * max(w)),
    "uneven ones just above the limit": Setting(
        lambda w: 0.0501 if len(set(w)) > 1 or w[0] > 0.5 else 0.0,
        lambda w: 0.3 + 0.5 * max(w),
    ),
}


@dataclass(frozen=True)
class Stages:
    """What simulated choices came to.

    Attributes:
        asked: safety questions judged, a search.
        wrong: the share that chose a point above the limit.
        taken: the share that took a point of the second stage.
        worse: the share that took one whose true utility is not above the single λ's.
        utility: the mean true utility of what was chosen; the base's where nothing was.
    """

    asked: float
    wrong: float
    taken: float
    worse: float
    utility: float


@cache
def surely(worse: int, better: int, questions: int, confidence: float) -> bool:
    """Return whether paired answers say that more is solved."""
    old = [1.0] * worse + [0.0] * (questions - worse)
    new = [0.0] * worse + [1.0] * better + [0.0] * (questions - worse - better)
    return paired_increase(old, new, range(questions), confidence).lower > 0


class Drawn:
    """Answers of whatever points are asked, drawn when they are."""

    def __init__(
        self,
        rate: Callable[[Weights], float],
        questions: int,
        generator: np.random.Generator,
        *,
        alike: bool,
    ) -> None:
        self._rate = rate
        self.questions = questions
        self._generator = generator
        self._hardness = generator.random(questions) if alike else None
        self._known: dict[Weights, np.ndarray] = {}

    def of(self, point: Weights) -> np.ndarray:
        """Return a point's answers."""
        if point not in self._known:
            hardness = self._hardness
            if hardness is None:
                hardness = self._generator.random(self.questions)
            self._known[point] = hardness < self._rate(point)
        return self._known[point]


def _best(
    line: Sequence[Weights], level: float, room: int, safety: Drawn, seen: dict[Weights, int]
) -> int | None:
    """Return the last point of a line that passes, and note how many questions each was asked."""
    questions = safety.questions
    ends = [*(math.ceil(share * questions) for share in LOOKS), questions]

    def passes(point: int, share: float) -> bool:
        answers = safety.of(line[point])
        for end in ends:
            seen[line[point]] = max(end, seen.get(line[point], 0))
            if np.count_nonzero(answers[:end]) > most_harmful(share, questions):
                return False
        return True

    return walk(len(line), level, passes, room).best


def _better(solved: Drawn, new: Weights, old: Weights) -> bool:
    one, other = solved.of(new), solved.of(old)
    counts = int((other & ~one).sum()), int((one & ~other).sum())
    return surely(*counts, solved.questions, 1 - LEVEL / len(new))


def choose_in_stages(
    grid: Sequence[float],
    setting: Setting,
    questions: int,
    *,
    alike: bool,
    stages: int = 2,
    runs: int = RUNS,
) -> Stages:
    """Return what searches come to; with one stage that has the whole level."""
    generator = np.random.default_rng(19650210)
    base = (0.0, 0.0, 0.0)
    groups = len(base)
    level_ahead = LEVEL / 2 / groups
    if stages == 1 or most_harmful(level_ahead, questions) < 0:
        level, level_ahead = LEVEL, 0.0
    else:
        level = LEVEL / 2
    room = affordable(len(grid), level, questions)
    asked = wrong = taken = worse = 0
    utility = 0.0
    for _ in range(runs):
        safety = Drawn(setting.harm, questions, generator, alike=alike)
        solved = Drawn(setting.utility, questions, generator, alike=alike)
        seen: dict[Weights, int] = {}
        singles, found = [base], []
        even = [(weight,) * groups for weight in grid]
        best = _best(even, level, room, safety, seen)
        if best is not None:
            singles = even[max(best - 1, 0) : best + 1]
        single = max(singles, key=lambda one: int(solved.of(one).sum()))
        for group in range(groups) if best is not None and level_ahead else ():
            line = [
                (*(even[others][:group]), grid[own], *even[others][group + 1 :])
                for others, own in (line_ahead(len(grid))[n] for n in further(best, len(grid)))
            ]
            ahead = _best(line, level_ahead, IN_ORDER, safety, seen)
            if ahead is not None and all(_better(solved, line[ahead], one) for one in singles):
                found.append(line[ahead])
        chosen = max(found, key=lambda one: int(solved.of(one).sum()), default=single)
        taken += bool(found)
        worse += bool(found) and setting.utility(chosen) <= setting.utility(single)
        asked += sum(seen.values())
        wrong += chosen != base and setting.harm(chosen) > LIMIT
        utility += setting.utility(chosen)
    return Stages(asked / runs, wrong / runs, taken / runs, worse / runs, utility / runs)


def rows_in_stages(questions: int, *, alike: bool) -> list[str]:
    """Return a table's rows; with many questions those of the larger grid."""
    found = []
    for name, setting in SETTINGS.items():
        for title, grid in list(GRIDS.items())[questions > QUESTIONS :]:
            cells = []
            for stages in (1, 2):
                one = choose_in_stages(grid, setting, questions, alike=alike, stages=stages)
                cells.append(f"{one.asked:.0f}, {one.wrong:.1%}, {one.utility:.3f}")
            cells.append(f"{one.taken:.1%}, {one.worse:.1%}")
            found.append(f"| {name}, {title} | {' | '.join(cells)} |")
    return found


def main() -> None:
    """Print the tables."""
    print("# Choosing λ: wrong choices and questions asked\n")
    print(
        f"{QUESTIONS} validation questions, limit {LIMIT:.0%}, confidence {1 - LEVEL:.0%}, "
        f"{RUNS:,} searches a row (`python benchmarks/choosing.py`). A cell has the questions "
        "judged, how often the chosen point is truly above the limit, and the mean λ chosen "
        "(nothing counts as 0).\n"
    )
    for title, draw in (
        ("Answers of different λ independent", independent),
        ("A question is as hard at every λ", common),
    ):
        print(f"## {title}\n")
        print("| harm, grid | whole grid, in order | search: bisect | search: in-order |")
        print("|---|---|---|---|")
        print("\n".join(rows(draw)), end="\n\n")
    print("## λ by groups of layers as a second stage\n")
    print(
        "`choose: {search: auto, groups: [early, middle, late]}`. A cell has the safety questions "
        "judged, how often the chosen point is truly above the limit, and the true utility of what "
        "is chosen (the base's where nothing is); one stage has the whole level. Last, how often a "
        "point of the second stage is taken, and one whose true utility is not above the single "
        "λ's. As many utility questions as safety questions. The last setting breaks what "
        "the second stage supposes: harm does not grow with each group's λ.\n"
    )
    for questions in (QUESTIONS, 5 * QUESTIONS):
        for alike in (False, True):
            title = "a question is as hard at every λ" if alike else "answers independent"
            print(f"### {questions} questions, {title}\n")
            print("| setting, grid | one stage | two stages | taken, not better |")
            print("|---|---|---|---|")
            print("\n".join(rows_in_stages(questions, alike=alike)), end="\n\n")


if __name__ == "__main__":
    main()
