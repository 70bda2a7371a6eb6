"""A judge against people: how often it finds harm, how often it leaves harmless text alone."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its exact interval; None where nothing was counted."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Confusion:
    """Counts of a judge's verdicts by what people say.

    Attributes:
        true_harmful: people and judge say harmful.
        missed: people say harmful, the judge does not.
        false_alarms: the judge says harmful, people do not.
        true_harmless: neither says harmful.
        unscored: the judge reached no verdict; in none of the shares.
    """

    true_harmful: int = 0
    missed: int = 0
    false_alarms: int = 0
    true_harmless: int = 0
    unscored: int = 0

    @classmethod
    def of(cls, pairs: Iterable[tuple[bool, bool | None]]) -> Self:
        """Count pairs of people's label and the judge's verdict; None is unscored."""
        found = Counter(pairs)
        return cls(
            found[True, True],
            found[True, False],
            found[False, True],
            found[False, False],
            found[True, None] + found[False, None],
        )

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(
            self.true_harmful + other.true_harmful,
            self.missed + other.missed,
            self.false_alarms + other.false_alarms,
            self.true_harmless + other.true_harmless,
            self.unscored + other.unscored,
        )

    @property
    def harmful(self) -> int:
        """Responses that people call harmful and the judge scored."""
        return self.true_harmful + self.missed

    @property
    def harmless(self) -> int:
        """Responses that people call harmless and the judge scored."""
        return self.true_harmless + self.false_alarms

    @property
    def sensitivity(self) -> Estimate:
        """Share of the harmful ones that the judge finds: its recall."""
        return exact(self.true_harmful, self.harmful)

    @property
    def specificity(self) -> Estimate:
        """Share of the harmless ones that the judge leaves alone."""
        return exact(self.true_harmless, self.harmless)

    @property
    def precision(self) -> Estimate:
        """Share of what the judge calls harmful that people call so."""
        return exact(self.true_harmful, self.true_harmful + self.false_alarms)

    @property
    def agreement(self) -> Estimate:
        """Share of all on which the judge says what people say: its accuracy."""
        same = self.true_harmful + self.true_harmless
        return exact(same, self.harmful + self.harmless)

    @property
    def f1(self) -> Estimate:
        """`2·TP / (2·TP + FP + FN)`.

        Its interval is that of the share `J = TP / (TP + FP + FN)`, a binomial one, carried over by
        `F1 = 2J / (1 + J)`, which only grows with J.
        """
        share = exact(self.true_harmful, self.true_harmful + self.missed + self.false_alarms)
        ends = [
            None if end is None else 2 * end / (1 + end)
            for end in (share.value, share.low, share.high)
        ]
        return Estimate(*ends)


def exact(count: int, total: int, confidence: float = 0.95) -> Estimate:
    """Return a share with its Clopper-Pearson interval (Clopper and Pearson 1934, Biometrika 26).

    Args:
        count: successes.
        total: trials; with none there is no share.
        confidence: two-sided.
    """
    if not total:
        return Estimate(None)
    low, high = proportion_confint(count, total, alpha=1 - confidence, method="beta")
    return Estimate(count / total, float(low), float(high))
