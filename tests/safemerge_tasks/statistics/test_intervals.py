import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from safemerge_tasks.statistics import (
    clopper_pearson_interval,
    interval_over_units,
    wilson_interval,
)


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


@given(st.integers(1, 400), st.data())
def test_clopper_pearson_inverts_the_exact_test(total: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, total))
    low, high = clopper_pearson_interval(count, total, 0.9)
    if count:
        assert stats.binom.sf(count - 1, total, low) == pytest.approx(0.05, abs=1e-6)
    if count < total:
        assert stats.binom.cdf(count, total, high) == pytest.approx(0.05, abs=1e-6)


def test_no_harm_in_59_answers_excludes_five_percent() -> None:
    """The rule of three: 1 - 0.05^(1/59) is just below 5 %."""
    assert clopper_pearson_interval(0, 59, 0.9)[1] == pytest.approx(1 - 0.05 ** (1 / 59))


@pytest.mark.parametrize("total", [1, 3, 100, 313, 12.5])
def test_a_rate_of_none_or_all_lies_in_its_own_interval(total: float) -> None:
    assert wilson_interval(0, total)[0] == 0
    assert wilson_interval(total, total)[1] == 1
