"""A whole sweep with real vLLM, from fine-tuning to the report; and no step twice."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safemerge_tasks.sweep.choosing import choose_from
from safemerge_tasks.sweep.manifest import Agreement, Manifest
from safemerge_tasks.sweep.outcomes import read_sweep
from tests.e2e.sweeping import Sweeps, finished, small_sweep

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

pytestmark = pytest.mark.vllm

LIMIT = 6
VLLM = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}


@pytest.fixture(scope="module")
def sweeps(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    tuning = {
        "data": {"file": str(family.tuning_file)},
        "system_prompt": "You are a helpful assistant.",
        "seeds": [42],
        "learning_rate": 4.0e-3,
        "batch_size": 16,
        "epochs": 2,
        "checkpoint_step": 40,
        "device": "cpu",
        "threads": 1,
        "dtype": "float32",
        "gradient_checkpointing": False,
    }
    content = small_sweep(
        family,
        name="whole",
        tunings=[{"name": "toy-task", "config": tuning}],
        methods=[
            {"method": "linear", "lambda": [0.4, 0.8]},
            {"method": "slerp", "lambda": [0.6]},
        ],
        judge={
            "judge": "wildguard",
            "judge_engine": "vllm",
            "judge_model": str(family.guard),
            "judge_dtype": "float32",
            "judge_max_model_len": 2048,
        },
        engine={"model": "vllm", "model_args": {"dtype": "float32", "max_model_len": 2048}},
    )
    content["tasks"] |= {
        "limit": LIMIT,
        "validation": {"safety": ["toy_val_asr"], "utility": ["toy_task_val"]},
        "test": {"safety": ["toy_asr"], "utility": ["toy_task"]},
    }
    return Sweeps(tmp_path_factory.mktemp("sweeps"), content)


@pytest.fixture(scope="module")
def places(sweeps: Sweeps) -> tuple[Path, Path]:
    """Return the output folder and the store of a sweep that was run once."""
    out, store = sweeps.folder / "out", sweeps.folder / "store"
    sweeps.must_succeed(sweeps.start(out, store, environment=VLLM))
    return out, store


def test_every_cell_has_results_of_both_splits(places: tuple[Path, Path]) -> None:
    out, _ = places
    manifest = Manifest.read(out)
    served = {one.id: one.served for one in manifest.variants}
    assert served == {
        "base": "adapter",
        "toy-task-tuned-seed-42": "adapter",
        "toy-task-linear-seed-42-lambda-0.4": "adapter",
        "toy-task-linear-seed-42-lambda-0.8": "adapter",
        "toy-task-slerp-seed-42-lambda-0.6": "checkpoint",
    }
    for variant in manifest.variants:
        assert variant.failure is None
        assert set(variant.results) == {"validation", "test"}
        for split, tasks in (
            ("validation", {"toy_val_asr": "asr,wildguard", "toy_task_val": "exact_match,none"}),
            ("test", {"toy_asr": "asr,wildguard", "toy_task": "exact_match,none"}),
        ):
            for task, metric in tasks.items():
                (path,) = (out / variant.results[split] / task).glob("results_*.json")
                found = json.loads(path.read_text())
                assert 0 <= found["results"][task][metric] <= 1
                assert found["n-samples"][task]["effective"] == LIMIT
                (samples,) = path.parent.glob("samples_*.jsonl")
                assert len(samples.read_text().splitlines()) == LIMIT


def test_a_point_is_chosen_for_each_method(places: tuple[Path, Path]) -> None:
    out, _ = places
    choices = {choice.label: choice for choice in choose_from(read_sweep(Manifest.read(out), out))}
    assert set(choices) == {"linear", "slerp"}
    assert choices["slerp"].point == (("lambda", 0.6),)
    linear = choices["linear"]
    assert linear.point in ((("lambda", 0.4),), (("lambda", 0.8),))
    assert linear.utility == max(one.utility or 0.0 for one in linear.candidates)


def test_adapters_answer_as_the_merged_checkpoint_does(places: tuple[Path, Path]) -> None:
    out, _ = places
    (agreement,) = Manifest.read(out).agreement
    # The middle one of two, on the test split: a safety and a utility task.
    expected = Agreement(
        variant="toy-task-linear-seed-42-lambda-0.8",
        split="test",
        equal=agreement.equal,
        total=2 * LIMIT,
    )
    assert agreement == expected
    assert agreement.equal >= 2 * LIMIT - 2


def test_the_report_is_written(places: tuple[Path, Path]) -> None:
    out, _ = places
    text = (out / "report" / "report.md").read_text()
    assert "linear" in text
    assert "slerp" in text
    assert (out / "report" / "report.html").stat().st_size > 1000
    assert (out / "report" / "results.csv").read_text().count("\n") > 5


def test_adapters_are_kept_and_no_merged_checkpoint_is_written(places: tuple[Path, Path]) -> None:
    _, store = places
    models = [path.name for path in (store / "steps").glob("merge-*/model/*.safetensors")]
    assert models == ["adapter_model.safetensors"] * 2
    assert len(list((store / "steps").glob("finetune-*"))) == 1


def test_status(places: tuple[Path, Path]) -> None:
    out, _ = places
    words = [sys.executable, "-m", "safemerge_tasks", "sweep", "status", str(out)]
    said = subprocess.run([*words, "--json"], capture_output=True, check=True)
    state: dict[str, Any] = json.loads(said.stdout)
    assert state["is_running"] is False
    assert state["failed"] == state["running"] == []
    done = {kind: row["done"] for kind, row in state["steps"].items()}
    # Five variants and four tasks; the agreement's merge answers the two of the test split. What is
    # no adapter is merged by those who ask it.
    assert done == {"finetune": 1, "merge": 2, "answer": 22, "score": 20, "judge": 10}
    shown = subprocess.run(words, capture_output=True, check=True, text=True)
    assert shown.stdout.startswith("whole: not running\n")


def test_a_second_run_does_no_step(sweeps: Sweeps, places: tuple[Path, Path]) -> None:
    out, store = places
    before = finished(store)
    jobs = {path: path.stat().st_mtime_ns for path in (out / "logs").iterdir()}
    manifest = (out / "sweep.json").read_text()
    sweeps.must_succeed(sweeps.start(out, store, environment=VLLM))
    assert finished(store) == before
    assert {path: path.stat().st_mtime_ns for path in (out / "logs").iterdir()} == jobs
    assert (out / "sweep.json").read_text() == manifest


def test_the_plan_of_a_finished_sweep_has_nothing_left(
    sweeps: Sweeps, places: tuple[Path, Path]
) -> None:
    _, store = places
    number = len(list(sweeps.folder.glob("printed-*"))) + 1
    out = sweeps.folder / "planned"
    sweeps.must_succeed(sweeps.start(out, store, "--plan", "--json", environment=VLLM))
    plan = json.loads((sweeps.folder / f"printed-{number}").read_text())
    assert {row["to do"] for row in plan["steps"].values()} == {0}
    assert (plan["generations"], plan["judge calls"], plan["bytes written"]) == (0, 0, 0)
    assert sum(plan["cells"].values()) == 5
    assert not out.exists()
