"""Policies that name a category's row as a metric, in either spelling."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.gate.decision import GateResult, compare
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.results import Run
from safemerge_tasks.results.loading import load_folder
from safemerge_tasks.statistics.decision import Decision

from .conftest import sample

Write = Callable[..., Run]
BAKING_WORSE = [float(n % 3 == 0) for n in range(120)]


def gate(a: Run, b: Run, metric: str, **limits: Any) -> GateResult:
    policy = {"tasks": {"toy_asr": {"metrics": {metric: {"max_increase": 0.1, **limits}}}}}
    sides = (load_folder(run.path.parent) for run in (a, b))
    return compare(*sides, Policy.model_validate(policy))


@pytest.mark.parametrize("metric", ["asr[baking]", "asr_baking"])
def test_a_row_is_compared_question_by_question(write: Write, metric: str) -> None:
    a, b = write("a", [0.0] * 120), write("b", BAKING_WORSE)
    (found,) = gate(a, b, metric).comparisons
    assert found.decision is Decision.REGRESSION
    assert found.paired
    assert (found.questions, found.candidate.value) == (40, 1.0)
    assert found.check.name == "asr [baking]"
    assert gate(a, b, metric.replace("baking", "knitting")).decision is Decision.PASSED


def test_an_older_name_of_two_categories_is_refused(write: Write) -> None:
    kinds = ["Food & Drink", "Food / Drink"]
    rows = [sample(n, 0.0, doc={"category": kinds[n % 2]}) for n in range(20)]
    a, b = write("a", rows=rows), write("b", rows=rows)
    with pytest.raises(SafemergeError, match=r"asr_food_drink names no one category.*'Food / Dr"):
        gate(a, b, "asr_food_drink")
    assert gate(a, b, "asr[Food & Drink]").comparisons[0].questions == 10


@pytest.mark.parametrize("metric", ["asr[baking][rye]", "asr_baking__rye"])
def test_a_part_of_a_category_is_refused(write: Write, metric: str) -> None:
    a = write("a", [0.0] * 9)
    with pytest.raises(SafemergeError, match="is a sub-category"):
        gate(a, a, metric)


def test_a_row_has_no_categories_itself(write: Write) -> None:
    a = write("a", [0.0] * 9)
    with pytest.raises(SafemergeError, match="which has no categories; remove them"):
        gate(a, a, "asr[baking]", categories={"*": {"max": 0.1}})


@pytest.mark.parametrize("metric", ["asr[baking]", "asr_baking"])
def test_without_samples_older_and_newer_results_compare(
    write: Write, tmp_path: Path, metric: str
) -> None:
    a, b = (write(name, [0.0] * 120, samples=False) for name in "ab")
    for run, row, rate in ((a, "asr_baking", 0.0), (b, "asr[baking]", 0.9)):
        summary = run.summary()
        summary["results"]["toy_asr"][f"{row},wildguard"] = rate
        run.write_summary(summary)
    (found,) = gate(a, b, metric).comparisons
    assert (found.baseline.value, found.candidate.value) == (0.0, 0.9)
    assert found.decision is Decision.REGRESSION
    with pytest.raises(SafemergeError, match=r"is a rate between 0 and 1.*write 0.10 for 10 %"):
        gate(a, b, metric, max=10)
