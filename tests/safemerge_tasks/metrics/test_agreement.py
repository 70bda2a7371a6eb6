import pytest

from safemerge_tasks.judges import Verdict
from safemerge_tasks.metrics.agreement import judges_alpha


def verdicts(*harmful: bool | None) -> list[Verdict]:
    return [Verdict(harmful=value) for value in harmful]


def test_alpha_by_hand() -> None:
    """Two judges, four exchanges, one disagreement.

    Of 8 values 3 are harmful: the expected disagreement is 2*3*5/(8*7) = 15/28, the observed one is
    1/4, so alpha = 1 - (1/4)/(15/28) = 8/15.
    """
    votes = [verdicts(True, True, False, False), verdicts(True, False, False, False)]
    assert judges_alpha(votes)["harmful"] == pytest.approx(8 / 15)


def test_judges_that_never_differ_agree() -> None:
    assert judges_alpha([verdicts(True, True), verdicts(True, True)])["harmful"] == 1
    votes = [verdicts(True, False), verdicts(True, False)]
    assert judges_alpha(votes)["harmful"] == pytest.approx(1)


def test_what_only_one_judge_tells_has_no_agreement() -> None:
    votes = [verdicts(True, False), [Verdict(complied=True), Verdict(complied=False)]]
    assert judges_alpha(votes) == {}


def test_missing_verdicts_leave_their_exchange_out() -> None:
    votes = [verdicts(True, True, False, False, True), verdicts(True, False, False, False, None)]
    assert judges_alpha(votes)["harmful"] == pytest.approx(8 / 15)
