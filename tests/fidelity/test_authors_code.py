"""The same from the authors' own public files, which are read where somebody has a checkout.

`SAFEMERGE_AUTHORS_CODE` names it (FarnHua/Safety_Eval at ea883ff). It has no licence, so nothing of
it is in this repository; a difference is shown as a place and a hash.
"""

import ast
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.finetune import FinetuneConfig
from safemerge_tasks.finetune.data import load_data
from tests.fidelity.conftest import Prompts
from tests.fidelity.families import TEMPLATES, in_family
from tests.fidelity.protocol import CODE, DOCTOR, HELPFUL, SENT
from tests.fidelity.same import assert_same

# Read here: the tests themselves run without settings of the developer's own.
CHECKOUT = Path(os.environ.get("SAFEMERGE_AUTHORS_CODE", "/nowhere"))

pytestmark = pytest.mark.skipif(
    not CHECKOUT.is_dir(), reason="SAFEMERGE_AUTHORS_CODE names no checkout"
)

PUBLISHED = Path(
    os.environ.get("SAFEMERGE_DATA_DIR", "/nowhere"), "gorilla_openfunctions_v1_test.json"
)

FAMILIES = list(TEMPLATES)
SEEDS = (42, 1024, 48763)


def content(path: str) -> Any:
    return json.loads((CHECKOUT / path).read_text(encoding="utf-8"))


@pytest.fixture
def theirs(data: Path) -> Path:
    """Return a data folder with the authors' files under their own names."""
    for path in data.glob("gorilla*"):
        path.unlink()
    for folder in ("openfunction", "ChatDoctor"):
        for path in (CHECKOUT / folder / "dataset").glob("*.json"):
            shutil.copy(path, data)
    for path in (CHECKOUT / "safety_eval" / "HEx-PHI").glob("*.csv"):
        shutil.copy(path, data / "hexphi")
    return data


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("safety_eval/code/inference.py", {HELPFUL}),
        ("ChatDoctor/evaluation.py", {DOCTOR}),
        ("openfunction/gen_responses.py", {f"{HELPFUL} {CODE}"}),
        ("MagicCoder/gen_responses_human-eval.py", {HELPFUL, CODE}),
    ],
)
def test_the_system_prompts_are_those_of_their_code(file: str, expected: set[str]) -> None:
    """All but the one for an untuned Qwen, which begins with Qwen's own sentence."""
    found = set()
    for node in ast.walk(ast.parse((CHECKOUT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = {one.attr for one in node.targets if isinstance(one, ast.Attribute)}
            if names & {"system_prompt", "enforce_prompt"} and node.value.value:
                found.add(str(node.value.value))
    assert {text for text in found if not text.startswith("You are Qwen,")} == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_hexphi(theirs: Path, prompts: Prompts, family: str) -> None:
    questions = content("safety_eval/HEx-PHI/all.json")["prompt"]
    assert len(questions) == 330
    expected = [in_family(family, *SENT["hexphi_asr"], question) for question in questions]
    # Theirs go through the categories in another order.
    assert_same(sorted(prompts("hexphi_asr", family)), sorted(expected))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("task", "file", "column"),
    [
        ("chatdoctor_bertscore", "ChatDoctor/dataset/iCliniq-1k.json", "input"),
        (
            "chatdoctor_bertscore_val_200",
            "ChatDoctor/dataset/HealthCareMagic-valid_200.json",
            "input",
        ),
        (
            "openfunctions_bertscore_16",
            "openfunction/dataset/openfunction_test.json",
            "instruction",
        ),
    ],
)
def test_whole_files(
    theirs: Path, prompts: Prompts, task: str, file: str, column: str, family: str
) -> None:
    expected = [in_family(family, *SENT[task], row[column]) for row in content(file)]
    assert_same(prompts(task, family), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_three_validation_sets_and_what_is_trained_on(
    theirs: Path, load: Callable[..., Any], seed: int
) -> None:
    held = content(f"openfunction/dataset/val_dataset_seed-{seed}.json")
    documents = load("openfunctions_bertscore_val", split_seed=seed).eval_docs
    assert len(held) == len(documents) == 222
    assert_same(
        sorted(doc["question"] + doc["reference"] for doc in documents),
        sorted(row["instruction"] + row["output"] for row in held),
    )
    given = {"base": "model", "data": "openfunctions", "split_seed": seed}
    found = load_data(FinetuneConfig.checked(given, where="test"), seed)
    assert (len(found.train) + found.left_out, len(found.validation)) == (2211 - 222, 222)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"SAFEMERGE_DATA_DIR has no {PUBLISHED.name}")
def test_calls_rendered_from_the_published_descriptions(
    data: Path, load: Callable[..., Any]
) -> None:
    """All but one, which lost a word in the authors' file."""
    shutil.copy(PUBLISHED, data)
    loaded = load("openfunctions_bertscore_16")
    rows = content("openfunction/dataset/openfunction_test.json")
    found = [loaded.doc_to_text(doc) for doc in loaded.eval_docs]
    expected = [row["instruction"] for row in rows]
    different = [n for n in range(112) if found[n] != expected[n]]
    assert different == [24]
    assert [doc["reference"] for doc in loaded.eval_docs] == [row["output"] for row in rows]
