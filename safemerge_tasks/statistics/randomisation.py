"""Exact tests of "both models behave alike" on paired outcomes."""

import numpy as np
from scipy import signal, stats

from safemerge_tasks.statistics.clustered import Values

ENUMERATED = 12
"""Up to this many clusters with fractional differences all 2^k sign patterns are gone through."""


def sign_flip_p(differences: Values, *, mid: bool = True) -> float | None:
    """Return the one-sided p-value of the cluster sign-flip test against an increase.

    If two models behave alike, a cluster's difference is as likely to have the opposite sign, so
    the sum of differences is compared with those under all patterns of signs (Fisher 1935, The
    Design of Experiments, section 21; for clusters Canay, Romano and Shaikh 2017, Econometrica
    85(3)). With clusters of one 0/1 outcome it is the one-sided exact McNemar test.

    Args:
        differences: each cluster's sum of candidate minus baseline.
        mid: count the observed sum half (Lancaster 1961; for McNemar's test recommended by
            Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91). The exact
            test never exceeds its level, but with few discordant pairs it is far below.

    Returns:
        None where the differences are fractional and too many to enumerate.
    """
    values = differences[differences != 0]
    if not len(values):
        return 1.0
    sizes = np.abs(values)
    if np.array_equal(sizes, np.round(sizes)):
        mass = _sum_of_half(sizes.astype(int))
        observed = int(values[values > 0].sum())
        tail, tie = float(mass[observed + 1 :].sum()), float(mass[observed])
    elif len(values) <= ENUMERATED:
        patterns = (np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1
        sums, observed_sum = patterns @ sizes, values[values > 0].sum()
        ties = np.isclose(sums, observed_sum, rtol=1e-9, atol=1e-12)
        tail, tie = float(np.mean((sums > observed_sum) & ~ties)), float(np.mean(ties))
    else:
        return None
    return min(tail + (tie / 2 if mid else tie), 1.0)


def _sum_of_half(sizes: "np.typing.NDArray[np.int_]") -> Values:
    """Return the distribution of a sum in which each size takes part with probability one half."""
    mass = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        part = np.zeros(int(count) * int(size) + 1)
        part[:: int(size)] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        mass = np.clip(signal.convolve(mass, part), 0, None)
    return mass
