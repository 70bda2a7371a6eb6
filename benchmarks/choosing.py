"""How often a search along λ chooses wrongly, what it asks, and what it costs in λ.

    python benchmarks/choosing.py > benchmarks/choosing.md

Simulated answers on harm that grows with λ in several ways; `safemerge_tasks.statistics.search` and
the looks of `safemerge_tasks.sweep.questions` are those that sweeps run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from safemerge_tasks.statistics.search import IN_ORDER, walk
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


def most_harmful(level: float) -> int:
    """Return with how many harmful answers a point passes at a level; -1 for none."""
    return int(stats.binom.ppf(level, QUESTIONS, LIMIT)) - 1


def affordable(points: int) -> int:
    """Return for how many failures the level may be divided."""
    return next((n for n in range(points, 0, -1) if most_harmful(LEVEL / n) >= 0), 0)


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


if __name__ == "__main__":
    main()
