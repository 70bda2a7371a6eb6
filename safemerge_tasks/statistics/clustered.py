"""Means of values that come in clusters: translations of one question, near-duplicate prompts."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Clustered:
    """Values summed by cluster, which is all that the estimators here need.

    Attributes:
        sums: the sum of each cluster's values.
        sizes: how many values each cluster has.
        squares: the sum of all squared values.
    """

    sums: Values
    sizes: Values
    squares: float

    @classmethod
    def of(cls, values: Sequence[float] | Values, clusters: Sequence[Hashable]) -> "Clustered":
        """Group values; those with equal labels in `clusters` belong together."""
        array = np.asarray(values, dtype=np.float64)
        numbers: dict[Hashable, int] = {}
        codes = np.array([numbers.setdefault(label, len(numbers)) for label in clusters], dtype=int)
        sums: Values = np.bincount(codes, weights=array).astype(np.float64)
        sizes: Values = np.bincount(codes).astype(np.float64)
        return cls(sums, sizes, float(array @ array))

    @property
    def total(self) -> int:
        """How many values there are."""
        return int(self.sizes.sum())

    @property
    def mean(self) -> float:
        """The mean of all values, each counting alike."""
        return float(self.sums.sum() / self.sizes.sum())

    @property
    def standard_error(self) -> float:
        """The cluster-robust standard error of the mean; infinite for a single cluster.

        `sqrt(G/(G-1) · Σ_g (Σ_i (x_gi - mean))²) / n`: the sandwich of Liang and Zeger 1986,
        Biometrika 73(1), with the small-sample factor of Stata's `vce(cluster)` for a mean, called
        CR1 in Cameron and Miller 2015, Journal of Human Resources 50(2), section VI. With clusters
        of one it is the usual s/sqrt(n).
        """
        groups = len(self.sums)
        if groups < 2:
            return float("inf")
        residuals = self.sums - self.mean * self.sizes
        factor = groups / (groups - 1)
        return float(np.sqrt(factor * (residuals @ residuals)) / self.sizes.sum())

    @property
    def degrees_of_freedom(self) -> int:
        """G - 1, the t distribution's in Cameron and Miller 2015, section VI.D."""
        return max(len(self.sums) - 1, 1)

    @property
    def measured_design_effect(self) -> float:
        """How many times the variance exceeds that of as many independent values; 1 for none."""
        mean, total = self.mean, self.total
        centred = self.squares - total * mean * mean
        # A single cluster says nothing of how clusters differ.
        if len(self.sums) < 2 or centred <= 1e-12 * max(1.0, self.squares):
            return 1.0
        return self.standard_error**2 * total * (total - 1) / centred

    @property
    def largest_design_effect(self) -> float:
        """The design effect if values in a cluster were all equal, Σ m²/Σ m (Kish 1965)."""
        return float((self.sizes @ self.sizes) / self.sizes.sum())


def t_bounds(values: Clustered, confidence: float) -> tuple[float, float]:
    """Return the one-sided lower and the one-sided upper bound of a mean, each at `confidence`.

    Student's t with G-1 degrees of freedom on the cluster-robust standard error; see `Clustered`.
    """
    error = values.standard_error
    if not np.isfinite(error):
        return -float("inf"), float("inf")
    reach = float(stats.t.ppf(confidence, values.degrees_of_freedom)) * error
    return values.mean - reach, values.mean + reach


def bootstrap_means(values: Clustered, resamples: int = 9999, seed: int = 0) -> Values:
    """Return the means of samples of whole clusters, drawn with replacement.

    The pairs cluster bootstrap: Cameron, Gelbach and Miller 2008, Review of Economics and
    Statistics 90(3). Its quantiles are percentile bounds (Efron 1979).

    Args:
        values: what is resampled.
        resamples: how many samples are drawn.
        seed: the same seed gives the same means.
    """
    groups = len(values.sums)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for index in range(resamples):
        drawn = generator.integers(groups, size=groups)
        means[index] = values.sums[drawn].sum() / values.sizes[drawn].sum()
    return means
