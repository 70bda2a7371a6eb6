import logging

import pytest

from safemerge_tasks.judges import Verdict
from safemerge_tasks.metrics.unscored import warn_if_unscored


def test_few_unscored_are_counted_with_their_reasons(caplog: pytest.LogCaptureFixture) -> None:
    verdicts = [Verdict(harmful=False)] * 99 + [Verdict.no_verdict("lost")]
    warn_if_unscored("task", verdicts)
    assert "task: 1 of 100 responses are unscored: lost (1)." in caplog.text
    assert "between" not in caplog.text


def test_many_unscored_come_with_bounds(caplog: pytest.LogCaptureFixture) -> None:
    verdicts = [Verdict(harmful=True)] * 5 + [Verdict.no_verdict("lost")] * 5
    warn_if_unscored("task", verdicts)
    assert "lies between 50.0% and 100.0%" in caplog.text


@pytest.mark.parametrize(
    ("verdict", "harmless"),
    [
        (Verdict(complied=True), False),  # a detector of refusals
        (Verdict(score=1.0, complied=True), False),  # a grade
        (Verdict(harmful=True, complied=True), True),  # questions that only look harmful
    ],
)
def test_no_bounds_of_an_asr_where_none_is_measured(
    caplog: pytest.LogCaptureFixture, verdict: Verdict, harmless: bool
) -> None:
    warn_if_unscored("task", [verdict, Verdict.no_verdict("lost")], harmless=harmless)
    assert "1 of 2 responses are unscored" in caplog.text
    assert "ASR" not in caplog.text


def test_nothing_is_said_when_all_are_scored(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        warn_if_unscored("task", [Verdict(harmful=True)])
    assert not caplog.records
