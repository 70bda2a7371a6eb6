"""Figures in others' formats are what their schemas describe."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.public_schemas import validate

from .conftest import sample
from .parsed import assert_markdown_is_plain

HOSTILE = "<b>\x1b[2J\u202e|`" * 200


@pytest.fixture(params=["plain", HOSTILE], ids=["plain", "hostile"])
def exported(
    request: pytest.FixtureRequest,
    write: Callable[..., Any],
    safemerge: Callable[..., Any],
    tmp_path: Path,
) -> tuple[Any, Any, str]:
    judge = {"name": "wildguard", "model": request.param, "revision": request.param}
    rows = [sample(n, float(n < 30) if n < 99 else None, category=f"{n % 2}") for n in range(100)]
    more = {"model": request.param, "ours": {"judges": [judge]}, "accuracy": 0.25}
    write("base", rows=[{**row, "asr": 0.0} if "asr" in row else row for row in rows], **more)
    write("tuned", rows=rows, **more)
    (tmp_path / "model").mkdir()
    done = safemerge(
        *("card", "model", "--results", "tuned", "--baseline", "base", "--bom", "bom.json"),
        *("--every-eval-ever", "eee.json", "--organization", "Bakers", "--annex-iv", "annex.md"),
        *("--relationship", "first_party"),
    )
    assert done.status == 0, done.err
    read = (json.loads((tmp_path / name).read_text()) for name in ("bom.json", "eee.json"))
    return (*read, (tmp_path / "annex.md").read_text(encoding="utf-8"))


def test_cyclonedx(exported: tuple[Any, Any, str]) -> None:
    bom = exported[0]
    component = bom["metadata"]["component"]
    assert component["type"] == "machine-learning-model"
    asr, acc = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert asr["type"] == "asr (attack success rate, lower is safer)"
    assert float(asr["value"]) == pytest.approx(30 / 99)
    assert float(asr["confidenceInterval"]["lowerBound"]) < 30 / 99
    assert acc["value"] == "0.25"
    properties = {one["name"]: one["value"] for one in component["modelCard"]["properties"]}
    assert properties["safemerge:toy_asr/wildguard/asr/unscored"] == "1"
    (judge,) = bom["components"]
    assert judge["properties"] == [{"name": "safemerge:role", "value": "judge"}]
    validate(bom, "bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json")


def test_the_same_results_make_the_same_bill(
    exported: tuple[Any, Any, str], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    first = (tmp_path / "bom.json").read_bytes()
    assert safemerge("card", "model", "--results", "tuned", "--bom", "again.json").status == 0
    assert (tmp_path / "again.json").read_bytes() == first
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", exported[0]["serialNumber"])


def test_every_eval_ever(exported: tuple[Any, Any, str]) -> None:
    record = exported[1]
    asr, acc = record["evaluation_results"]
    assert asr["score_details"]["score"] == pytest.approx(30 / 99)
    assert asr["score_details"]["uncertainty"]["num_samples"] == 99
    assert asr["metric_config"]["lower_is_better"] is True
    assert acc["metric_config"]["lower_is_better"] is False
    assert record["source_metadata"]["source_organization_name"] == "Bakers"
    assert record["source_metadata"]["evaluator_relationship"] == "first_party"
    validate(record, "eval.schema.json")


def test_annex_iv_says_what_it_has_and_what_it_has_not(exported: tuple[Any, Any, str]) -> None:
    annex = exported[2]
    for said in ("2(g) Validation", "30 of 99", "1 unscored", "regression", "Left to the provider"):
        assert said in annex
    assert "Points 1, 2(a) to" in annex
    assert_markdown_is_plain(annex, images=0)


def test_nothing_of_a_question_is_in_any(exported: tuple[Any, Any, str]) -> None:
    assert not re.search(r"loaf|dough", json.dumps(exported))


def test_a_judge_at_two_revisions_is_two(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    """One task was judged in spring, the other in autumn: both revisions are named."""
    for task, revision in (("bread_asr", "spring"), ("cake_asr", "autumn")):
        judge = {"name": "wildguard", "model": "guard", "revision": revision}
        for model, outcome in (("tuned", 1.0), ("base", 0.0)):
            write(
                f"{model}/{task}", [outcome] * 9, task=task, model=model, ours={"judges": [judge]}
            )
    (tmp_path / "model").mkdir()
    words = ("--results", "tuned", "--baseline", "base", "--bom", "bom.json", "--annex-iv", "a.md")
    assert safemerge("card", "model", *words).status == 0
    bom = json.loads((tmp_path / "bom.json").read_text())
    assert [(one["name"], one["version"]) for one in bom["components"]] == [
        *(("guard", "spring"), ("guard", "autumn")),
    ]
    validate(bom, "bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schema.json")
    annex = (tmp_path / "a.md").read_text()
    assert annex.count("spring") == annex.count("autumn") == 2
    done = safemerge("check", "--baseline", "base", "--candidate", "tuned")
    assert "guard@spring" in done.out
    assert "guard@autumn" in done.out
