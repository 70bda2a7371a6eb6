"""False alarms, coverage and wrong passes of the gate, by simulation; prints Markdown.

Two models answer the same questions; questions come in clusters that share much of what makes them
succeed. "Alike" means the same distribution of answers, sampled twice. Beside the gate stands
the paired t interval that another gate decides by, on the same draws.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import stats

from safemerge_tasks.statistics.clustered import Clustered, t_bounds
from safemerge_tasks.statistics.decision import (
    Decision,
    Evidence,
    Limits,
    Rate,
    decide,
    holm,
)
from safemerge_tasks.statistics.increase import Increase, paired_increase, rate_bounds
from safemerge_tasks.statistics.randomisation import sign_flip_p
from safemerge_tasks.statistics.unscored import either_way

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Setting:
    """One row: questions, their clusters, the rate, how much answers vary, the true increase."""

    groups: int
    size: int
    rate: float
    churn: float
    increase: float = 0.0

    @property
    def questions(self) -> int:
        """All questions."""
        return self.groups * self.size

    @property
    def discordant(self) -> float:
        """The expected number of clusters in which the models differ by chance."""
        return self.groups * 2 * self.churn * self.rate * (1 - self.rate)


def draw(
    setting: Setting, generator: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int_]]:
    """Return one pair of evaluations.

    A cluster has one latent answer; each model replaces it, with probability `churn`, by an answer
    of its own, which the cluster's questions follow with probability 0.8.
    """
    shape = (setting.groups, setting.size)
    latent = generator.random((setting.groups, 1)) < setting.rate

    def answers(rate: float) -> npt.NDArray[np.float64]:
        fresh = generator.random((setting.groups, 1)) < rate
        redrawn = generator.random((setting.groups, 1)) < setting.churn
        shared = np.broadcast_to(np.where(redrawn, fresh, latent), shape)
        if setting.size == 1:
            return shared.astype(float).ravel()
        alone = (generator.random(shape) < 0.2) & redrawn
        own = generator.random(shape) < rate
        return np.where(alone, own, shared).astype(float).ravel()

    clusters = np.repeat(np.arange(setting.groups), setting.size)
    old = answers(setting.rate)
    if not setting.increase:
        return old, answers(setting.rate), clusters
    new = answers(setting.rate)
    # Whole clusters give way, so that the mean grows by `increase`.
    given = generator.random((setting.groups, 1)) < setting.increase / (1 - setting.rate)
    return old, np.maximum(new, np.broadcast_to(given, shape).astype(float).ravel()), clusters


def gate(least: Increase, most: Increase, margin: float, family_p: float | None = None) -> Decision:
    """Return what the gate says of an increase."""
    p_value = least.p_value if family_p is None else family_p
    rate = Rate(0, 0, 0, 0, 1, 1)
    (found,) = decide(Evidence(least, most, rate, p_value, most.questions), Limits(margin))
    return found.decision


@cache
def by_counts(worse: int, better: int, total: int) -> Increase:
    """Return the increase of independent questions, which only their counts make."""
    differences = np.zeros(total)
    differences[:worse], differences[worse : worse + better] = 1, -1
    old = (differences < 0).astype(float)
    return paired_increase(old, old + differences, range(total), CONFIDENCE)


def simulate(setting: Setting, runs: int, margin: float, seed: int) -> dict[str, float]:
    """Return rates over `runs` evaluations."""
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(("gate", "exact", "t", "mcnemar", "rule", "passed", "lower", "upper"), 0)
    alpha = 1 - CONFIDENCE
    for _ in range(runs):
        old, new, clusters = draw(setting, generator)
        found = paired_increase(old, new, list(clusters), CONFIDENCE)
        values = Clustered.of(new - old, list(clusters))
        outcome = gate(found, found, margin)
        exact = sign_flip_p(values.sums, mid=False)
        worse, better = int((new > old).sum()), int((new < old).sum())
        counts["gate"] += found.lower > 0
        counts["exact"] += exact is not None and exact <= alpha
        counts["t"] += t_bounds(values, CONFIDENCE)[0] > 0
        counts["mcnemar"] += stats.binom.sf(worse - 1, worse + better, 0.5) <= alpha
        counts["rule"] += outcome is Decision.REGRESSION
        counts["passed"] += outcome is Decision.PASSED
        counts["lower"] += found.lower <= setting.increase
        counts["upper"] += found.upper >= setting.increase
    return {name: count / runs for name, count in counts.items()}


def false_alarms(runs: int) -> None:
    """Print the table of models that behave alike."""
    print(
        "| questions | clusters of | ASR | discordant clusters | gate's test | whole rule | "
        "exact sign-flip | cluster t | McNemar, clusters ignored | gate passes |"
    )
    print("|---" * 10 + "|")
    for groups, size in ((60, 1), (200, 1), (520, 1), (2000, 1), (200, 3), (550, 3), (40, 8)):
        for rate, churn in ((0.01, 0.5), (0.05, 0.5), (0.2, 0.5), (0.5, 0.5)):
            setting = Setting(groups, size, rate, churn)
            found = simulate(setting, runs, 0.05, groups * size)
            cells = [found[name] for name in ("gate", "rule", "exact", "t", "mcnemar", "passed")]
            print(
                f"| {setting.questions} | {size} | {rate:.0%} | {setting.discordant:.1f} | "
                + " | ".join(f"{cell:.1%}" for cell in cells)
                + " |"
            )


def coverage(runs: int) -> None:
    """Print the table of candidates that are truly worse."""
    print("| questions | clusters of | ASR | true increase | lower covers | upper covers |", end="")
    print(" found |\n" + "|---" * 7 + "|")
    for groups, size in ((60, 1), (200, 1), (520, 1), (550, 3), (40, 8)):
        for rate, increase in ((0.01, 0.0), (0.01, 0.02), (0.01, 0.1), (0.2, 0.05), (0.2, 0.2)):
            setting = Setting(groups, size, rate, 0.5, increase)
            found = simulate(setting, runs, 0.05, groups * size + 1)
            cells = [found[name] for name in ("lower", "upper", "gate")]
            print(
                f"| {setting.questions} | {size} | {rate:.0%} | {increase:.0%} | "
                + " | ".join(f"{cell:.1%}" for cell in cells)
                + " |"
            )


def families(runs: int) -> None:
    """Print how often a release of several suites fails though nothing changed."""
    print("| suites | questions each | ASR | margin 2 % | 5 % | 10 % | test without Holm |")
    print("|---" * 7 + "|")
    for suites, questions, rate in ((4, 520, 0.05), (4, 520, 0.2), (10, 200, 0.2), (10, 60, 0.2)):
        setting = Setting(questions, 1, rate, 0.5)
        generator = np.random.default_rng(suites * questions)
        failed = dict.fromkeys((0.02, 0.05, 0.1), 0)
        unadjusted = 0
        for _ in range(runs):
            drawn = [draw(setting, generator) for _ in range(suites)]
            found = [
                paired_increase(old, new, list(labels), CONFIDENCE) for old, new, labels in drawn
            ]
            adjusted = holm([one.p_value for one in found])
            unadjusted += any(one.lower > 0 for one in found)
            for margin in failed:
                failed[margin] += any(
                    gate(one, one, margin, p) is Decision.REGRESSION
                    for one, p in zip(found, adjusted, strict=True)
                )
        cells = " | ".join(f"{count / runs:.1%}" for count in (*failed.values(), unadjusted))
        print(f"| {suites} | {questions} | {rate:.0%} | {cells} |")


@dataclass(frozen=True)
class Wrong:
    """A candidate that must not pass: its increase is `times` the margin."""

    questions: int
    rate: float
    unscored: float
    margin: float
    times: float


MISSING_IF_HARMFUL = 3
"""How many times as often a harmful answer has no verdict as a harmless one."""


def hide(answers: npt.NDArray[np.float64], share: float, generator: np.random.Generator) -> None:
    """Take the verdicts off about a share of the answers, off harmful ones more often."""
    harmful = float(answers.mean())
    harmless_share = share / (1 + (MISSING_IF_HARMFUL - 1) * harmful)
    chances = np.where(answers > 0, MISSING_IF_HARMFUL * harmless_share, harmless_share)
    answers[generator.random(answers.shape) < chances] = np.nan


def passes(case: Wrong, runs: int, seed: int) -> tuple[float, float]:
    """Return how often the gate, and how often the paired t interval, lets the candidate pass."""
    generator = np.random.default_rng(seed)
    shape = (runs, case.questions)
    increase = case.margin * case.times
    old = (generator.random(shape) < case.rate).astype(float)
    # Half of the answers are drawn anew; then enough of the harmless ones turn harmful.
    drawn = (generator.random(shape) < case.rate).astype(float)
    new = np.where(generator.random(shape) < 0.5, old, drawn)
    turned = generator.random(shape) < increase / (1 - case.rate)
    new = np.maximum(new, turned.astype(float))
    for answers in (old, new):
        hide(answers, case.unscored, generator)
    least, most = (one.candidate - one.baseline for one in either_way(old, new))
    ours = [
        gate(by_counts(*low, case.questions), by_counts(*high, case.questions), case.margin)
        for low, high in zip(flips(least), flips(most), strict=True)
    ]
    differences = new - old
    count = (~np.isnan(differences)).sum(axis=1)
    mean = np.nanmean(differences, axis=1)
    error = np.nanstd(differences, axis=1, ddof=1) / np.sqrt(count)
    theirs = mean + stats.t.ppf(CONFIDENCE, count - 1) * error <= case.margin
    return ours.count(Decision.PASSED) / runs, float(theirs.mean())


def flips(differences: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Yield how many questions are worse and how many better, evaluation by evaluation."""
    for worse, better in zip((differences > 0).sum(1), (differences < 0).sum(1), strict=True):
        yield int(worse), int(better)


def wrong_passes(runs: int) -> None:
    """Print the table of candidates that must not pass."""
    print("| questions | ASR before | margin | true increase | unscored | gate passes | ", end="")
    print("t interval passes |\n" + "|---" * 7 + "|")
    worst = {1.0: [0.0, 0.0], 2.0: [0.0, 0.0]}
    shown = []
    grid = product(
        (50, 75, 200, 520, 2000),
        (0.0, 0.01, 0.05, 0.2, 0.5),
        (0.01, 0.05, 0.1),
        (1.0, 2.0),
        (0.0, 0.05, 0.1),
    )
    for seed, (questions, rate, margin, times, unscored) in enumerate(grid):
        case = Wrong(questions, rate, unscored, margin, times)
        found = passes(case, runs, seed)
        worst[times] = [max(pair) for pair in zip(worst[times], found, strict=True)]
        shown.append((case, *found))
    # The worst of each number of questions and each share without a verdict, for either gate.
    for questions, unscored, times in product((50, 75, 200, 520, 2000), (0.0, 0.05, 0.1), worst):
        some = [
            one
            for one in shown
            if (one[0].questions, one[0].unscored, one[0].times) == (questions, unscored, times)
        ]
        ends = max(some, key=lambda one: one[1]), max(some, key=lambda one: one[2])
        for case, ours, theirs in dict.fromkeys(ends):
            print(
                f"| {questions} | {case.rate:.0%} | {case.margin:.0%} | "
                f"{case.margin * times:.0%} | {unscored:.0%} | {ours:.1%} | {theirs:.1%} |"
            )
    for times, (ours, theirs) in worst.items():
        print(
            f"\nWorst of all {len(shown) // 2} settings with an increase of {times:g} margins: ",
            end="",
        )
        print(f"gate {ours:.1%}, t interval {theirs:.1%}.")


def clustered_passes(runs: int) -> None:
    """Print the same for clusters, the increase on the margin of 5 points."""
    print("| questions | clusters of | ASR before | gate passes | t without clusters passes |")
    print("|---" * 5 + "|")
    for (groups, size), rate in product(((100, 3), (200, 3), (550, 3), (40, 8)), (0.0, 0.05, 0.2)):
        setting = Setting(groups, size, rate, 0.5, 0.05)
        generator = np.random.default_rng(groups * size)
        ours = theirs = 0
        for _ in range(runs):
            old, new, clusters = draw(setting, generator)
            found = paired_increase(old, new, list(clusters), CONFIDENCE)
            ours += gate(found, found, 0.05) is Decision.PASSED
            theirs += t_bounds(Clustered.of(new - old, range(len(old))), CONFIDENCE)[1] <= 0.05
        cells = f"{ours / runs:.1%} | {theirs / runs:.1%}"
        print(f"| {setting.questions} | {size} | {rate:.0%} | {cells} |")


def rates(runs: int) -> None:
    """Print how often a candidate passes `max` whose rate is just that."""
    print("| questions | max = ASR | unscored | gate passes | gate fails | point estimate passes |")
    print("|---" * 6 + "|")

    @cache
    def bounds(hits: int, total: int) -> tuple[float, float]:
        values = np.zeros(total)
        values[:hits] = 1
        return rate_bounds(Clustered.of(values, range(total)), CONFIDENCE)

    for total, limit, unscored in product((50, 200, 520, 2000), (0.01, 0.05, 0.2), (0.0, 0.1)):
        generator = np.random.default_rng(total)
        answers = (generator.random((runs, total)) < limit).astype(float)
        hide(answers, unscored, generator)
        least = np.nansum(answers, axis=1).astype(int)
        most = least + np.isnan(answers).sum(axis=1)
        passed = np.mean([bounds(int(hits), total)[1] <= limit for hits in most])
        failed = np.mean([bounds(int(hits), total)[0] > limit for hits in least])
        naive = np.mean(np.nanmean(answers, axis=1) <= limit)
        cells = " | ".join(f"{cell:.1%}" for cell in (passed, failed, naive))
        print(f"| {total} | {limit:.0%} | {unscored:.0%} | {cells} |")


def main() -> None:
    """Run all simulations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    runs = parser.parse_args().runs
    error = 1.96 * (0.05 * 0.95 / runs) ** 0.5
    print(f"Nominal 5 %; {runs:,} simulated pairs of evaluations a row, so ±{error:.1%} at 5 %.\n")
    print("## Candidates that must not pass: how often they do\n")
    print(
        "By questions, share without a verdict, and increase in margins: the gate's worst setting,"
    )
    print("and the t interval's.\n")
    wrong_passes(runs)
    print("\n## The same in clusters\n")
    print(f"The increase is on the margin of 5 points; {runs // 2:,} pairs a row.\n")
    clustered_passes(runs // 2)
    print("\n## A rate that is just its limit\n")
    rates(runs)
    print("\n## Models that behave alike: how often each test finds a regression\n")
    false_alarms(runs)
    print("\n## Candidates that are worse: how often the one-sided 95 % bounds cover\n")
    coverage(runs)
    print("\n## Several suites, nothing changed: how often the release fails\n")
    print(f"{runs // 8:,} runs a row. With Holm, at three margins, and the tests without it.\n")
    families(runs // 8)


if __name__ == "__main__":
    main()
