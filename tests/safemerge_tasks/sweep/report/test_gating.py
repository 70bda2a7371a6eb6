"""The gate's verdicts on a sweep's models."""

from pathlib import Path

import pytest

from safemerge_tasks.gate.comparison import compare
from safemerge_tasks.gate.loading import load_folder
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.report.wording import questions
from safemerge_tasks.statistics.verdict import Outcome
from safemerge_tasks.sweep.report.findings import find
from safemerge_tasks.sweep.report.gating import Verdict
from tests.sweep_folder import SAFETY, UTILITY, SweepFolder, outcomes


def verdicts(folder: SweepFolder) -> list[Verdict]:
    return list(find(folder.write(), folder.path).verdicts)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "out")
    found = {SAFETY: outcomes(2, 300), UTILITY: outcomes(100, 300)}
    folder.add("base", {"validation": found, "test": found})
    return folder


def test_one_seed_is_what_safemerge_check_says(sweep: SweepFolder) -> None:
    variant = sweep.merged("linear", 7, 9, 200, total=300, lambda_=0.4)
    (verdict,) = verdicts(sweep)
    checked = compare(
        load_folder(sweep.path / "results/v000/test"),
        load_folder(sweep.path / variant.results["test"]),
        Policy(),
    )
    (expected,) = checked.comparisons
    (found,) = verdict.comparisons
    assert found.increase == expected.increase
    assert (found.outcome, found.reason) == (expected.outcome, expected.reason)


def test_seeds_that_answer_alike_count_about_once(sweep: SweepFolder) -> None:
    for seed in (1, 2, 3):
        sweep.merged("linear", seed, 9, 200, total=300, lambda_=0.4)
    pooled, first, *_ = verdicts(sweep)
    assert (pooled.seeds, pooled.pooled) == ((1, 2, 3), True)
    assert (first.seeds, first.pooled) == ((1,), False)
    (together,), (alone,) = pooled.comparisons, first.comparisons
    assert together.increase.value == pytest.approx(7 / 300)
    assert together.increase.clusters == 300
    # Not three times as many questions, whatever the sample's correction is.
    assert together.increase.effective == pytest.approx(alone.increase.effective, rel=0.01)
    assert together.increase.upper == pytest.approx(alone.increase.upper, abs=1e-3)
    assert questions(together) == "300, 3 answers each"


def test_questions_needed_are_questions_not_answers(sweep: SweepFolder) -> None:
    for seed in (1, 2, 3):
        sweep.merged("linear", seed, 13, 200, total=300, lambda_=0.4)
    pooled, first, *_ = verdicts(sweep)
    (together,), (alone,) = pooled.comparisons, first.comparisons
    assert together.outcome is alone.outcome
    if alone.needed:
        assert together.needed == pytest.approx(alone.needed, rel=0.02)


def test_a_regression_and_a_pass(sweep: SweepFolder) -> None:
    for seed in (1, 2):
        both = {SAFETY: outcomes(150, 300), UTILITY: outcomes(250, 300)}
        sweep.add("tuned", {"validation": both, "test": both}, seeds=(seed,))
        sweep.merged("linear", seed, 2, 200, total=300, lambda_=0.4)
    found = {
        (one.label, one.pooled): {c.outcome for c in one.comparisons} for one in verdicts(sweep)
    }
    assert found["fine-tuned", True] == {Outcome.REGRESSION}
    assert found["linear", True] == {Outcome.PASSED}
    assert found["linear", False] == {Outcome.PASSED}


def test_too_many_unscored_are_undecided(sweep: SweepFolder) -> None:
    validation = {SAFETY: outcomes(0, 300), UTILITY: outcomes(100, 300)}
    test = {SAFETY: outcomes(0, 300, 30), UTILITY: outcomes(100, 300)}
    found = {"validation": validation, "test": test}
    sweep.add("merged", found, seeds=(1,), method="linear", lambda_=0.4)
    (verdict,) = verdicts(sweep)
    assert verdict.comparisons[0].outcome is Outcome.UNDECIDED


def test_what_cannot_be_compared_says_why(sweep: SweepFolder) -> None:
    variant = sweep.merged("linear", 1, 2, 200, total=250, lambda_=0.4)
    (verdict,) = verdicts(sweep)
    assert not verdict.comparisons
    assert "question set" in verdict.obstacle
    place = sweep.path / variant.results["test"]
    next(place.rglob("results_*.json")).write_text("{}")
    (verdict,) = verdicts(sweep)
    assert "has no results in it" in verdict.obstacle


def test_without_a_base_there_is_no_verdict(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "out")
    folder.merged("linear", 1, 2, 50, lambda_=0.4)
    (verdict,) = verdicts(folder)
    assert verdict.obstacle == "there is no base in the sweep"
