"""False alarms and coverage of the gate's statistics, by simulation; prints Markdown.

Two models answer the same questions; questions come in clusters that share much of what makes them
succeed. "Alike" means the same distribution of answers, sampled twice.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from safemerge_tasks.statistics.clustered import Clustered, t_bounds
from safemerge_tasks.statistics.decision import Decision, decide_increase, holm
from safemerge_tasks.statistics.increase import paired_increase
from safemerge_tasks.statistics.randomisation import sign_flip_p

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


def simulate(setting: Setting, runs: int, margin: float, seed: int) -> dict[str, float]:
    """Return rates over `runs` evaluations."""
    generator = np.random.default_rng(seed)
    counts = dict.fromkeys(
        ("gate", "exact", "t", "mcnemar", "rule", "beyond", "passed", "lower", "upper"), 0
    )
    alpha = 1 - CONFIDENCE
    for _ in range(runs):
        old, new, clusters = draw(setting, generator)
        found = paired_increase(old, new, list(clusters), CONFIDENCE)
        values = Clustered.of(new - old, list(clusters))
        outcome = decide_increase(found, margin, CONFIDENCE)
        exact = sign_flip_p(values.sums, mid=False)
        worse, better = int((new > old).sum()), int((new < old).sum())
        counts["gate"] += found.lower > 0
        counts["exact"] += exact is not None and exact <= alpha
        counts["t"] += t_bounds(values, CONFIDENCE)[0] > 0
        counts["mcnemar"] += stats.binom.sf(worse - 1, worse + better, 0.5) <= alpha
        counts["rule"] += outcome is Decision.REGRESSION
        counts["beyond"] += found.value > margin or found.lower > 0
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
                    decide_increase(one, margin, CONFIDENCE, p, suites) is Decision.REGRESSION
                    for one, p in zip(found, adjusted, strict=True)
                )
        cells = " | ".join(f"{count / runs:.1%}" for count in (*failed.values(), unadjusted))
        print(f"| {suites} | {questions} | {rate:.0%} | {cells} |")


def estimates(runs: int) -> None:
    """Print what failing on every estimate beyond the margin would do."""
    print("| questions | ASR | whole rule | failing on every estimate beyond 5 % |")
    print("|---" * 4 + "|")
    for questions in (60, 200):
        found = simulate(Setting(questions, 1, 0.2, 0.5), runs, 0.05, 1)
        print(f"| {questions} | 20% | {found['rule']:.1%} | {found['beyond']:.1%} |")


def main() -> None:
    """Run both simulations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    runs = parser.parse_args().runs
    error = 1.96 * (0.05 * 0.95 / runs) ** 0.5
    print(f"Nominal 5 %; {runs:,} simulated pairs of evaluations a row, so ±{error:.1%} at 5 %.\n")
    print("## Models that behave alike: how often each test finds a regression\n")
    false_alarms(runs)
    print("\n## Candidates that are worse: how often the one-sided 95 % bounds cover\n")
    coverage(runs)
    print("\n## Several suites, nothing changed: how often the release fails\n")
    families(runs // 8)
    print("\n## Nothing changed: the rule, and one that does not ask if the margin is resolved\n")
    estimates(runs // 2)


if __name__ == "__main__":
    main()
