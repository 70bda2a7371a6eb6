"""When a rate of yes and no changed, along runs of the same questions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

DRAWS = 9_999
"""Of the null, so that p-values go down to 0.0001."""

SUPPORT = 2.0
"""Log-likelihood by which a place may fall behind the best one and still be named."""

SEED = 1983

Counts = npt.NDArray[np.int64]


class ChangePoint(NamedTuple):
    """A change of a rate between two runs that follow each other.

    Attributes:
        place: of the first run after it.
        earliest: the first place that the runs support nearly as well.
        latest: the last such place.
        before: the rate from the change before, or the start, to this one.
        after: the rate from this one to the next, or the end.
        confidence: one minus the p-value of "no change at all" in this stretch.
    """

    place: int
    earliest: int
    latest: int
    before: float
    after: float
    confidence: float


def change_points(
    hits: Sequence[int],
    totals: Sequence[int],
    effects: Sequence[float] = (),
    confidence: float = 0.95,
) -> list[ChangePoint]:
    """Return the changes of a rate over runs, in their order.

    The largest likelihood ratio over all places of one change (Worsley 1983, Biometrika 70(2), for
    binomial observations), whose null distribution given the total of hits is drawn: these are
    spread over the runs as a multivariate hypergeometric variable. That a change is found by chance
    in a history without any is at most `1 - confidence`. Each side of a change is searched again
    (binary segmentation: Scott and Knott 1974, Biometrics 30(3)). Runs of the same questions vary
    less than independent ones, so the p-values are rather too large.

    Args:
        hits: questions that count, one number a run.
        totals: all questions of each run.
        effects: of each run, by how much dependent questions count as fewer; none for 1.
        confidence: from which on a change is one.
    """
    counts, sizes = np.asarray(hits, np.int64), np.asarray(totals, np.int64)
    fewer = [
        effective(*one) for one in zip(hits, totals, effects or [1.0] * len(hits), strict=True)
    ]
    told = np.asarray(fewer, np.int64).reshape(-1, 2)
    places = sorted(_search(told[:, 0], told[:, 1], 0, len(told), confidence))
    edges = [0, *(place for place, *_ in places), len(counts)]

    def rate(number: int) -> float:
        some = slice(edges[number], edges[number + 1])
        return float(counts[some].sum() / sizes[some].sum())

    return [
        ChangePoint(place, earliest, latest, rate(n), rate(n + 1), sure)
        for n, (place, earliest, latest, sure) in enumerate(places)
    ]


def _search(
    hits: Counts, totals: Counts, start: int, end: int, confidence: float
) -> list[tuple[int, int, int, float]]:
    if end - start < 2:
        return []
    some, sizes = hits[start:end], totals[start:end]
    ratios = likelihood_ratios(some[None], sizes)[0]
    best = float(ratios.max())
    if best <= 0:
        return []
    rng = np.random.default_rng(SEED)
    drawn = rng.multivariate_hypergeometric(sizes, int(some.sum()), DRAWS, method="marginals")
    larger = int((likelihood_ratios(drawn, sizes).max(axis=1) >= best - 1e-9).sum())
    p_value = (1 + larger) / (1 + DRAWS)
    if p_value > 1 - confidence:
        return []
    supported = np.flatnonzero(ratios >= best - SUPPORT) + 1
    place = int(ratios.argmax()) + 1 + start
    found = (place, int(supported.min()) + start, int(supported.max()) + start, 1 - p_value)
    return [
        found,
        *_search(hits, totals, start, place, confidence),
        *_search(hits, totals, place, end, confidence),
    ]


def likelihood_ratios(hits: Counts, totals: Counts) -> npt.NDArray[np.float64]:
    """Return the logarithms of the likelihood ratios of one change against none.

    Args:
        hits: [histories, runs].
        totals: [runs], the same in every history.

    Returns:
        [histories, runs - 1]: for a change before the second run, the third, and so on.
    """
    left, right = np.cumsum(hits, axis=1)[:, :-1], np.cumsum(totals)[:-1]
    all_hits, size = hits.sum(axis=1, keepdims=True), int(totals.sum())
    return (
        _log_likelihood(left, right)
        + _log_likelihood(all_hits - left, size - right)
        - _log_likelihood(all_hits, np.asarray([size]))
    )


def _log_likelihood(hits: Counts, totals: Counts) -> npt.NDArray[np.float64]:
    """Return the binomial log-likelihood at its own maximum, without the constant."""

    def term(part: Counts) -> npt.NDArray[np.float64]:
        share = np.divide(part, totals, out=np.ones(part.shape), where=part > 0)
        found: npt.NDArray[np.float64] = part * np.log(share)
        return found

    return term(hits) + term(totals - hits)


def effective(hits: int, total: int, design_effect: float) -> tuple[int, int]:
    """Return whole numbers of independent questions that tell as much as these do."""
    size = max(math.floor(total / design_effect), 1)
    return round(hits / total * size), size
