"""How many questions give in to at least one of N tries, predicted from few tries each.

SABER, arXiv 2601.22636: a question's chance p of a harmful answer is Beta(a, b) distributed over
the questions, so c harmful ones among n answers have the Beta-binomial's probability, and

    ASR@N = 1 - E[(1-p)^N] = 1 - Γ(a+b)/Γ(b) · Γ(b+N)/Γ(a+b+N).

For large N the last factor tends to N^(-a), which is the paper's form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import NonlinearConstraint, minimize
from scipy.special import expit, gammaln
from scipy.stats import chi2

Values = npt.NDArray[np.float64]

# Of logit(a/(a+b)) and log(a+b). At the ends every question has the same rate 0 or 1, or each has
# the one or the other, or all have one rate between: the model's limits, which data may ask for.
_BOUNDS = ((-20.0, 20.0), (np.log(1e-3), np.log(1e5)))
_GRID = (121, 61)


@dataclass(frozen=True)
class Prediction:
    """A predicted ASR@N.

    Attributes:
        tries: N.
        value: at the likeliest a and b.
        low: lower end of the interval.
        high: upper end.
        alpha: a, of the Beta distribution.
        beta: b, of the Beta distribution.
        questions: it was fitted to.
        answers: to all of them.
    """

    tries: int
    value: float
    low: float
    high: float
    alpha: float
    beta: float
    questions: int
    answers: int


def predict_asr(
    harmful: Sequence[int], answers: Sequence[int], tries: int, confidence: float = 0.95
) -> Prediction | None:
    """Return ASR@N by maximum likelihood, with the interval of its profile likelihood.

    The interval holds all values that some a, b have whose likelihood is within the chi-squared
    limit of the greatest (Wilks 1938), so it does not shrink to a point where no answer, or every
    one, is harmful. Questions count as independent.

    Args:
        harmful: harmful answers to each question.
        answers: judged answers to each question; questions without any are left out.
        tries: N.
        confidence: two-sided.

    Returns:
        None where no question has two answers, from which alone the spread of the rates is known.
    """
    pairs = [(c, n) for c, n in zip(harmful, answers, strict=True) if n]
    if any(not 0 <= c <= n for c, n in pairs):
        raise ValueError("more harmful answers than answers")
    if max((n for _, n in pairs), default=0) < 2:
        return None
    fit = _Likelihood(pairs)
    best = fit.greatest()
    floor = fit(best) - float(chi2.ppf(confidence, 1)) / 2
    low, high = fit.reach(floor, tries)
    value = float(asr_at(best, tries))
    alpha, beta = _shape(best)
    return Prediction(
        tries,
        value,
        min(low, value),
        max(high, value),
        float(alpha),
        float(beta),
        len(pairs),
        sum(n for _, n in pairs),
    )


def asr_at(place: Any, tries: int) -> Any:
    """Return ASR@N at a place (logit of the mean rate, log of a+b), or at many."""
    alpha, beta = _shape(place)
    total = alpha + beta
    refused = gammaln(beta + tries) - gammaln(beta) - gammaln(total + tries) + gammaln(total)
    return -np.expm1(refused)


def _shape(place: Any) -> tuple[Any, Any]:
    mean, total = place
    # Both from the logit itself: 1 - mean would be 0 where the mean is all but 1.
    return expit(mean) * np.exp(total), expit(-mean) * np.exp(total)


class _Likelihood:
    """The log likelihood of counts, without what does not depend on a and b.

    `Σ log BB(c | n, a, b) = Σ_j (A_j log(a+j) + B_j log(b+j) - C_j log(a+b+j))` with A_j, B_j, C_j
    the questions that have more than j harmful, other and all answers: Griffiths 1973, Biometrics
    29(4). No large numbers are subtracted from one another.
    """

    def __init__(self, pairs: Sequence[tuple[int, int]]) -> None:
        counts = np.array(pairs)
        sides = (counts[:, 0], counts[:, 1] - counts[:, 0], counts[:, 1])
        self._above = [[int((side > j).sum()) for j in range(side.max())] for side in sides]

    def __call__(self, place: Any) -> Any:
        """Return it at a place, or at many."""
        alpha, beta = _shape(place)
        found: Any = 0.0
        terms = zip((alpha, beta, alpha + beta), (1, 1, -1), self._above, strict=True)
        for parameter, sign, above in terms:
            for j, count in enumerate(above):
                found = found + sign * count * np.log(parameter + j)
        return found

    def greatest(self) -> Values:
        """Return where it is greatest."""
        grid = _grid()
        start = grid[:, int(np.argmax(self(grid)))]
        found = minimize(lambda place: -self(place), start, method="L-BFGS-B", bounds=_BOUNDS)
        best: Values = found.x if self(found.x) >= self(start) else start
        return best

    def reach(self, floor: float, tries: int) -> tuple[float, float]:
        """Return the least and greatest ASR@N where it is not below a floor."""
        grid = np.column_stack([_grid(), self.greatest()])
        inside = grid[:, self(grid) >= floor]
        values = asr_at(inside, tries)
        limit = NonlinearConstraint(self, floor, np.inf)
        ends = []
        for sign in (1, -1):
            at = int(np.argmin(sign * values))
            found = minimize(
                lambda place, sign=sign: sign * asr_at(place, tries),
                inside[:, at],
                method="SLSQP",
                bounds=_BOUNDS,
                constraints=[limit],
                options={"maxiter": 200},
            )
            refined = float(asr_at(found.x, tries))
            # What the search has found counts only where the limit holds.
            holds = self(found.x) >= floor - 1e-6 and sign * refined < sign * values[at]
            ends.append(refined if holds else float(values[at]))
        return ends[0], ends[1]


def _grid() -> Values:
    axes = [np.linspace(*ends, count) for ends, count in zip(_BOUNDS, _GRID, strict=True)]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes)])
