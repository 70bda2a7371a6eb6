import pytest
from scipy.stats import beta

from safemerge_tasks.metrics.confusion import Confusion, exact


def test_shares_by_hand() -> None:
    judge = Confusion(true_harmful=8, missed=2, false_alarms=5, true_harmless=85, unscored=3)
    assert judge.sensitivity.value == 0.8
    assert judge.specificity.value == 85 / 90
    assert judge.agreement.value == 93 / 100
    assert judge.f1.value == pytest.approx(16 / 23)


def test_the_interval_is_clopper_and_pearsons() -> None:
    found = exact(8, 10)
    assert found.low == pytest.approx(beta.ppf(0.025, 8, 3))
    assert found.high == pytest.approx(beta.ppf(0.975, 9, 2))
    assert exact(0, 10).low == 0
    assert exact(10, 10).high == 1


def test_the_interval_of_f1_is_carried_over_from_a_share() -> None:
    f1 = Confusion(true_harmful=8, missed=2, false_alarms=5).f1
    share = exact(8, 15)
    assert share.low is not None
    assert f1.low == pytest.approx(2 * share.low / (1 + share.low))
    assert f1.low < f1.value < f1.high  # type: ignore[operator]


def test_nothing_labelled_gives_no_share() -> None:
    assert Confusion(true_harmless=3).sensitivity.value is None
    assert Confusion().f1.value is None


def test_counts_add_up() -> None:
    assert Confusion(1, 2, 3, 4, 5) + Confusion(10, 20, 30, 40, 50) == Confusion(11, 22, 33, 44, 55)
