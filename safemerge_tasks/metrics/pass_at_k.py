"""pass@k, the chance that one of k samples solves a problem.

Unbiased estimator of Chen et al. 2021, arXiv 2107.03374, section 2.1: of n samples c are right;
pass@k = 1 - C(n-c, k) / C(n, k), per problem. The mean over problems is the metric, and its
standard error is that of a mean over problems.
"""

from collections.abc import Sequence
from math import comb

KS = (1, 10)
"""The k that are reported."""


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the estimate for one problem.

    Args:
        samples: n, at least k.
        correct: c.
        k: as in pass@k.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {correct} among {samples} samples")
    # Whole numbers: exact, and C(n-c, k) is 0 where fewer than k are wrong.
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def problem_metrics(passed: Sequence[bool]) -> dict[str, float]:
    """Return one problem's metrics; a k above the number of samples is left out."""
    return {f"pass@{k}": pass_at_k(len(passed), sum(passed), k) for k in KS if k <= len(passed)}
