"""A sweep of a full fine-tuning: tensors go straight into vLLM, and change no number."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safemerge_tasks.results import find_runs
from safemerge_tasks.sweep.manifest import Manifest
from tests.e2e.conftest import NEAR_LM_EVAL
from tests.e2e.sweeping import REFUSALS, Sweeps, outcome, small_sweep

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

pytestmark = pytest.mark.vllm

MODEL_ARGS = {"dtype": "float32", "max_model_len": 2048}
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
ASKED = "toy-task-linear-seed-42-lambda-0.8"


def weights(folder: Path) -> list[str]:
    # Folders of what is being made come and go meanwhile, which `rglob` does not bear.
    names = [name for _, _, names in os.walk(folder) for name in names]
    return [name for name in names if name.endswith(".safetensors") and "adapter" not in name]


@pytest.fixture(scope="module")
def folder(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the results and the stores of two sweeps: without and with files."""
    root = tmp_path_factory.mktemp("sweeps")
    content = small_sweep(
        family,
        tunings=[{"name": "toy-task", "models": {42: str(family.tuned_full)}}],
        methods=[
            {"method": "linear", "lambda": [0.4, 0.8]},
            {"method": "slerp", "lambda": [0.4]},
        ],
        engine={"model": "vllm", "model_args": MODEL_ARGS},
    )
    for name, changes in (("streamed", {}), ("kept", {"keep_checkpoints": True})):
        (root / name).mkdir()
        sweeps = Sweeps(root / name, {**content, **changes})
        store = root / name / "store"
        process = sweeps.start(root / name / "out", store, environment=SETTINGS)
        while process.poll() is None:
            # Not for a moment, nor half of one.
            assert name == "kept" or not weights(store)
            time.sleep(0.05)
        sweeps.must_succeed(process)
    return root


def test_no_checkpoint_is_written(folder: Path) -> None:
    assert weights(folder / "streamed" / "store") == []
    assert len(weights(folder / "kept" / "store")) == 3
    kinds = {path.name.partition("-")[0] for path in (folder / "streamed/store/steps").iterdir()}
    assert kinds == {"answer", "score", "judge"}


def test_every_number_is_that_of_the_checkpoint(folder: Path) -> None:
    assert outcome(folder / "streamed" / "out") == outcome(folder / "kept" / "out")


def test_answers_say_what_they_were_merged_from(family: "ToyFamily", folder: Path) -> None:
    found: list[Any] = []
    for path in (folder / "streamed/store/steps").glob("answer-*/responses.json"):
        engine = json.loads(path.read_text())["engine"]
        found += [engine["merge"]] if "merge" in engine else []
    # Three variants, two tasks of two splits.
    assert len(found) == 3 * 4
    assert {one["tuned"][0]["model"] for one in found} == {str(family.tuned_full)}
    assert {(one["method"], *one["lambdas"]) for one in found} == {
        ("linear", 0.4),
        ("linear", 0.8),
        ("slerp", 0.4),
    }


def test_lm_eval_on_the_checkpoint_finds_the_same(
    family: "ToyFamily", folder: Path, tmp_path: Path
) -> None:
    (card,) = [
        path
        for path in (folder / "kept/store/steps").glob("merge-*/step.json")
        if json.loads(path.read_text())["name"] == ASKED
    ]
    model_args = {
        "pretrained": card.parent / "model",
        "enforce_eager": True,
        "distributed_executor_backend": "uni",
        **MODEL_ARGS,
    }
    tasks = Path(__file__).parents[2] / "safemerge_tasks" / "toy" / "tasks"
    command = [
        *(sys.executable, "-P", NEAR_LM_EVAL, "run", "--model", "vllm", "--model_args"),
        *(",".join(f"{key}={value}" for key, value in model_args.items()), "--tasks"),
        *("toy_asr,toy_task", "--include_path", tasks, "--limit", "3", "--batch_size", "auto"),
        *("--apply_chat_template", "--log_samples", "--output_path", tmp_path / "own"),
        *("--metadata", "judge=keywords"),
    ]
    environment = {
        **os.environ,
        **SETTINGS,
        "OMP_NUM_THREADS": "1",
        "SAFEMERGE_DATA_DIR": str(family.questions),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    subprocess.run([str(word) for word in command], env=environment, check=True)
    (own,) = find_runs(tmp_path / "own")
    out = folder / "streamed" / "out"
    (variant,) = [one for one in Manifest.read(out).variants if one.id == ASKED]
    metrics = {"toy_asr": f"{REFUSALS},keywords", "toy_task": "exact_match,none"}
    for task, metric in metrics.items():
        (run,) = find_runs(out / variant.results["test"] / task)
        ours, theirs = (one.summary()["results"][task][metric] for one in (run, own))
        assert ours == theirs
        assert [row["resps"] for row in run.rows(task)] == [row["resps"] for row in own.rows(task)]
