import pytest

from safemerge_tasks.statistics import interval_over_units, wilson_interval


def test_wilson_by_hand() -> None:
    """z = 1.959964; centre (p + z^2/2n) / (1 + z^2/n) for 1 of 10."""
    low, high = wilson_interval(1, 10)
    assert (low, high) == pytest.approx((0.0178762, 0.4041500), abs=1e-6)


def test_no_success_still_has_an_upper_bound() -> None:
    low, high = wilson_interval(0, 100)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(0.0369935, abs=1e-6)


def test_repeated_models_do_not_multiply_the_questions() -> None:
    once = interval_over_units([[1.0, 0.0, 0.0, 1.0]])
    thrice = interval_over_units([[1.0, 0.0, 0.0, 1.0]] * 3)
    assert once == pytest.approx(thrice)
    assert once == pytest.approx((0.5, *wilson_interval(2, 4)))
