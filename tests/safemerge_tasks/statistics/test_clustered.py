import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safemerge_tasks.statistics.clustered import Clustered, bootstrap_means, t_bounds

labelled = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.0, 1.0, 0.5]), st.integers(0, 6)), min_size=4, max_size=60
).filter(lambda rows: len({label for _, label in rows}) > 1)


@given(labelled)
def test_standard_error_is_that_of_statsmodels(rows: list[tuple[float, int]]) -> None:
    """Theirs has the factor G/(G-1) · (n-1)/(n-k), which for a mean is G/(G-1)."""
    values, labels = zip(*rows, strict=True)
    model = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(labels)}
    )
    ours = Clustered.of(values, labels)
    assert ours.mean == pytest.approx(model.params[0], abs=1e-12)
    assert ours.standard_error == pytest.approx(model.bse[0], abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=40).filter(lambda v: np.ptp(v) > 1e-3))
def test_without_clusters_the_bounds_are_students(values: list[float]) -> None:
    found = t_bounds(Clustered.of(values, range(len(values))), 0.95)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_by_hand() -> None:
    """Sums 3, 0, -1 of sizes 3, 2, 1: mean 1/3, residual sums 2, -2/3, -4/3."""
    found = Clustered.of([1, 1, 1, 0, 0, -1], "aaabbc")
    assert found.mean == pytest.approx(1 / 3)
    assert found.standard_error == pytest.approx((1.5 * (4 + 4 / 9 + 16 / 9)) ** 0.5 / 6)
    assert found.largest_design_effect == pytest.approx((9 + 4 + 1) / 6)


def test_copies_of_a_question_add_nothing() -> None:
    once = Clustered.of([1, 0, 0, 1, 0], range(5))
    thrice = Clustered.of([1, 0, 0, 1, 0] * 3, [*range(5)] * 3)
    assert thrice.standard_error == pytest.approx(once.standard_error)


def test_one_cluster_bounds_nothing() -> None:
    assert t_bounds(Clustered.of([1, 0], "aa"), 0.95) == (-float("inf"), float("inf"))


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 1000))
def test_bootstrap_spreads_like_the_standard_error(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = Clustered.of(generator.normal(size=300), np.repeat(np.arange(100), 3).tolist())
    means = bootstrap_means(values, 2000, seed)
    assert means.mean() == pytest.approx(values.mean, abs=values.standard_error / 5)
    assert means.std() == pytest.approx(values.standard_error, rel=0.1)
