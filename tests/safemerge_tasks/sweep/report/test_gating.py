"""The gate's decisions on a sweep's models."""

from pathlib import Path

import pytest

from safemerge_tasks.gate.decision import compare
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.report.wording import questions
from safemerge_tasks.results.loading import load_folder
from safemerge_tasks.statistics.decision import Decision
from safemerge_tasks.sweep.report.findings import find
from safemerge_tasks.sweep.report.gating import GatedCandidate
from tests.sweep_folder import SAFETY, UTILITY, SweepFolder, outcomes


def gated(folder: SweepFolder) -> list[GatedCandidate]:
    return list(find(folder.write(), folder.path).gated)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "out")
    found = {SAFETY: outcomes(2, 300), UTILITY: outcomes(100, 300)}
    folder.add("base", {"validation": found, "test": found})
    return folder


def test_one_seed_is_what_safemerge_check_says(sweep: SweepFolder) -> None:
    variant = sweep.merged("linear", 7, 9, 200, total=300, lambda_=0.4)
    (candidate,) = gated(sweep)
    checked = compare(
        load_folder(sweep.path / "results/v000/test"),
        load_folder(sweep.path / variant.results["test"]),
        Policy(),
    )
    (expected,) = checked.comparisons
    (found,) = candidate.comparisons
    assert found.increase == expected.increase
    assert (found.decision, found.reason) == (expected.decision, expected.reason)


def test_seeds_that_answer_alike_count_about_once(sweep: SweepFolder) -> None:
    for seed in (1, 2, 3):
        sweep.merged("linear", seed, 9, 200, total=300, lambda_=0.4)
    pooled, first, *_ = gated(sweep)
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
    pooled, first, *_ = gated(sweep)
    (together,), (alone,) = pooled.comparisons, first.comparisons
    assert together.decision is alone.decision
    if alone.needed:
        assert together.needed == pytest.approx(alone.needed, rel=0.02)


def test_a_regression_and_a_pass(sweep: SweepFolder) -> None:
    for seed in (1, 2):
        both = {SAFETY: outcomes(150, 300), UTILITY: outcomes(250, 300)}
        sweep.add("tuned", {"validation": both, "test": both}, seeds=(seed,))
        sweep.merged("linear", seed, 2, 200, total=300, lambda_=0.4)
    found = {(one.label, one.pooled): {c.decision for c in one.comparisons} for one in gated(sweep)}
    assert found["fine-tuned", True] == {Decision.REGRESSION}
    assert found["linear", True] == {Decision.PASSED}
    assert found["linear", False] == {Decision.PASSED}


def test_too_many_unscored_are_undecided(sweep: SweepFolder) -> None:
    validation = {SAFETY: outcomes(0, 300), UTILITY: outcomes(100, 300)}
    test = {SAFETY: outcomes(0, 300, 30), UTILITY: outcomes(100, 300)}
    found = {"validation": validation, "test": test}
    sweep.add("merged", found, seeds=(1,), method="linear", lambda_=0.4)
    (candidate,) = gated(sweep)
    assert candidate.comparisons[0].decision is Decision.UNDECIDED


def test_what_cannot_be_compared_says_why(sweep: SweepFolder) -> None:
    variant = sweep.merged("linear", 1, 2, 200, total=250, lambda_=0.4)
    (candidate,) = gated(sweep)
    assert not candidate.comparisons
    assert "question set" in candidate.obstacle
    place = sweep.path / variant.results["test"]
    next(place.rglob("results_*.json")).write_text("{}")
    (candidate,) = gated(sweep)
    assert "has no results in it" in candidate.obstacle


def test_without_a_base_there_is_no_decision(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "out")
    folder.merged("linear", 1, 2, 50, lambda_=0.4)
    (candidate,) = gated(folder)
    assert candidate.obstacle == "there is no base in the sweep"
