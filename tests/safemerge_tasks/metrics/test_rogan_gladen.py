import itertools

import numpy as np
import pytest

from safemerge_tasks.metrics.confusion import Confusion
from safemerge_tasks.metrics.rogan_gladen import corrected_rate


def test_the_estimate_by_hand() -> None:
    """(p + Sp - 1) / (Se + Sp - 1) = (0.3 + 0.9 - 1) / (0.8 + 0.9 - 1)."""
    found = corrected_rate(30, 100, Confusion(80, 20, 10, 90))
    assert found is not None
    assert found.value == pytest.approx(0.2 / 0.7)
    assert found.low < found.value < found.high  # type: ignore[operator]


def test_a_perfect_judge_changes_nothing_but_the_interval() -> None:
    found = corrected_rate(30, 100, Confusion(500, 0, 0, 500))
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.215, abs=0.01)
    assert found.high == pytest.approx(0.395, abs=0.01)


def test_fewer_labels_widen_the_interval() -> None:
    few = corrected_rate(30, 100, Confusion(8, 2, 1, 9))
    many = corrected_rate(30, 100, Confusion(800, 200, 100, 900))
    assert few is not None
    assert many is not None
    assert few.high - few.low > 1.3 * (many.high - many.low)  # type: ignore[operator]


def test_rates_stay_within_bounds() -> None:
    found = corrected_rate(1, 100, Confusion(80, 20, 10, 90))
    assert found is not None
    assert found.value == 0.0
    assert found.low == 0.0


@pytest.mark.parametrize(("harmful", "low", "high"), [(30, 0, 0.53234), (70, 0.59146, 1)])
def test_the_interval_by_hand(harmful: int, low: float, high: float) -> None:
    """Lang and Reiczigel's equations 4 to 6 with a pocket calculator.

    z² = 3.84146: n = 103.841, Se = 9/12, Sp = 10/12, and p = 0.307399 or 0.692601. The centres are
    0.241255 - 0.038508 and 0.901601 + 0.099484, the half widths 0.329596 and 0.409630.
    """
    found = corrected_rate(harmful, 100, Confusion(8, 2, 1, 9))
    assert found is not None
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize(
    ("harmful", "scored", "found", "of_harmful", "alone", "of_harmless", "low", "high", "digits"),
    [
        (4060, 11284, 178, 179, 358, 359, 0.349, 0.372, 3),
        (51, 2971, 32, 33, 20, 20, 0, 0.053, 3),
        # Their apparent prevalence is .06 of 11,862.
        (712, 11862, 8, 10, 12, 12, 0, 0.147, 3),
        (259, 509, 84, 127, 96, 109, 0.58, 0.87, 2),
        (51, 509, 23, 41, 187, 195, 0.037, 0.195, 3),
    ],
)
def test_the_published_examples(
    harmful: int,
    scored: int,
    found: int,
    of_harmful: int,
    alone: int,
    of_harmless: int,
    low: float,
    high: float,
    digits: int,
) -> None:
    """Lang and Reiczigel 2014, examples 1 to 4."""
    judge = Confusion(found, of_harmful - found, of_harmless - alone, alone)
    estimate = corrected_rate(harmful, scored, judge)
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert (round(estimate.low, digits), round(estimate.high, digits)) == (low, high)


def test_the_estimate_of_another_programs_manual() -> None:
    """RSurveillance 0.2.1, `tp(20, 120, 0.9, 0.99)`: 0.17603."""
    estimate = corrected_rate(20, 120, Confusion(90, 10, 1, 99))
    assert estimate is not None
    assert estimate.value == pytest.approx(0.17603, abs=5e-6)


def test_every_small_table_has_an_interval_around_its_estimate_or_none() -> None:
    tables = [
        Confusion(*table)
        for table in itertools.product(range(6), repeat=4)
        if sum(table[:2]) and sum(table[2:])
    ]
    found = [corrected_rate(harmful, 10, one) for one in tables for harmful in (0, 3, 10)]
    told = [one for one in found if one is not None]
    assert len(told) > 500
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in told)  # type: ignore[operator]
    # Better than chance as counted, not better with two more labels of each.
    assert corrected_rate(3, 10, Confusion(1, 0, 3, 1)) is None


@pytest.mark.parametrize(
    ("harmful", "scored", "judge"),
    [
        (0, 0, Confusion(8, 2, 1, 9)),
        (3, 9, Confusion(8, 2, 0, 0)),
        (3, 9, Confusion(0, 0, 1, 9)),
        (3, 9, Confusion(5, 5, 5, 5)),
    ],
)
def test_what_cannot_be_told(harmful: int, scored: int, judge: Confusion) -> None:
    assert corrected_rate(harmful, scored, judge) is None


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.6])
def test_the_interval_covers_the_truth(rate: float) -> None:
    """Nominal 95 %, over 600 seeded experiments: at least 93 %."""
    generator = np.random.default_rng(7)
    sensitivity, specificity, labels, covered = 0.85, 0.92, 150, 0
    seen = rate * sensitivity + (1 - rate) * (1 - specificity)
    for _ in range(600):
        found, alone = generator.binomial(labels, [sensitivity, specificity])
        judge = Confusion(int(found), int(labels - found), int(labels - alone), int(alone))
        estimate = corrected_rate(int(generator.binomial(520, seen)), 520, judge)
        assert estimate is not None
        covered += estimate.low <= rate <= estimate.high  # type: ignore[operator]
    assert covered / 600 > 0.93
