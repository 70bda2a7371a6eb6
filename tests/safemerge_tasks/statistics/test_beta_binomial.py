"""SABER's fit against brute force in float64, and against SciPy's own distribution."""

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import gamma

from safemerge_tasks.statistics.beta_binomial import Prediction, asr_at, predict_asr


def place(a: float, b: float) -> tuple[float, float]:
    return float(np.log(a / b)), float(np.log(a + b))


@pytest.mark.parametrize(("a", "b", "tries"), [(0.3, 2.0, 1), (0.3, 2.0, 7), (1.7, 40.0, 300)])
def test_the_rate_is_the_integral_over_the_questions(a: float, b: float, tries: int) -> None:
    def refused(p: float) -> float:
        return float((1 - p) ** tries * stats.beta.pdf(p, a, b))

    integral, _ = integrate.quad(refused, 0, 1, epsabs=1e-11)
    assert asr_at(place(a, b), tries) == pytest.approx(1 - integral, abs=1e-7)


def test_for_many_tries_it_is_the_papers_form() -> None:
    a, b, tries = 0.4, 3.0, 10**7
    papers = 1 - gamma(a + b) / gamma(b) * tries**-a
    assert asr_at(place(a, b), tries) == pytest.approx(papers, rel=1e-6)


def log_likelihood(a: float, b: float, harmful: list[int], answers: list[int]) -> float:
    return float(stats.betabinom.logpmf(harmful, answers, a, b).sum())


def brute_force(
    harmful: list[int], answers: list[int], tries: int, limit: float
) -> tuple[float, float, float]:
    """Return value and interval from a fine grid, with SciPy's distribution."""
    means, totals = np.linspace(-7, 5, 161), np.linspace(-4, 7, 151)
    mean, total = np.meshgrid(1 / (1 + np.exp(-means)), np.exp(totals))
    a, b = mean * total, (1 - mean) * total
    found = sum(stats.betabinom.logpmf(c, n, a, b) for c, n in zip(harmful, answers, strict=True))
    values = asr_at((np.log(mean / (1 - mean)), np.log(total)), tries)
    inside = values[found >= found.max() - limit]
    return float(values.ravel()[found.argmax()]), float(inside.min()), float(inside.max())


@pytest.mark.parametrize(
    ("harmful", "answers", "tries"),
    [
        ([0, 0, 1, 3, 0, 0, 6, 2, 0, 1], [8] * 10, 50),
        ([0, 2, 4, 1, 0, 3, 5, 0], [4, 6, 4, 2, 8, 3, 8, 5], 20),
    ],
)
def test_value_and_interval_are_those_of_brute_force(
    harmful: list[int], answers: list[int], tries: int
) -> None:
    found = predict_asr(harmful, answers, tries, 0.9)
    assert found is not None
    value, low, high = brute_force(harmful, answers, tries, stats.chi2.ppf(0.9, 1) / 2)
    assert found.value == pytest.approx(value, abs=0.01)
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)
    assert (found.questions, found.answers, found.tries) == (len(answers), sum(answers), tries)
    # No neighbour is likelier.
    best = log_likelihood(found.alpha, found.beta, harmful, answers)
    for factor in (0.97, 1.03):
        assert best > log_likelihood(found.alpha * factor, found.beta, harmful, answers)
        assert best > log_likelihood(found.alpha, found.beta * factor, harmful, answers)


def test_no_harmful_answer_is_not_certainty() -> None:
    found = predict_asr([0] * 50, [16] * 50, 100)
    assert found is not None
    assert found.value == pytest.approx(0, abs=1e-3)
    assert found.low == pytest.approx(0, abs=1e-3)
    # All questions alike: 1.92 = -800 log(1-p), and a hundred tries of that p.
    limit = stats.chi2.ppf(0.95, 1) / 2
    assert found.high == pytest.approx(1 - np.exp(-limit * 100 / 800), rel=0.02)


def test_every_answer_harmful_is_everything_later() -> None:
    found = predict_asr([4] * 10, [4] * 10, 9)
    assert found is not None
    assert found.high == pytest.approx(1, abs=1e-6)
    assert 0.8 < found.low < 1


def test_all_or_nothing_questions_stay_so() -> None:
    found = predict_asr([8] * 6 + [0] * 14, [8] * 20, 10_000)
    assert found is not None
    assert found.value == pytest.approx(0.3, abs=0.02)


def test_what_tells_nothing_predicts_nothing() -> None:
    assert predict_asr([1, 0, 1], [1, 1, 1], 10) is None
    assert predict_asr([], [], 10) is None
    left_out = predict_asr([1, 0, 0], [2, 2, 0], 10)
    assert isinstance(left_out, Prediction)
    assert left_out.questions == 2
    with pytest.raises(ValueError, match="more harmful"):
        predict_asr([3], [2], 10)


def test_the_interval_covers(  # the model is true here
) -> None:
    generator = np.random.default_rng(7)
    a, b, tries = 0.4, 4.0, 64
    truth = float(asr_at(place(a, b), tries))
    inside = 0
    for _ in range(40):
        rates = generator.beta(a, b, size=120)
        harmful = generator.binomial(8, rates).tolist()
        found = predict_asr(harmful, [8] * 120, tries)
        assert found is not None
        inside += found.low <= truth <= found.high
    assert inside >= 34  # a 95 % interval has fewer in 1 of 500 such runs
