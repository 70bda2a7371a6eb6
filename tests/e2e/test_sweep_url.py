"""A sweep whose requests a real `vllm serve` answers, against the engine in the process."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from safemerge_tasks.results import find_runs
from safemerge_tasks.sweep.manifest import Manifest
from safemerge_tasks.sweep.serving.adapters import check_servable, max_lora_rank
from tests.e2e.serving import serving
from tests.e2e.sweeping import Sweeps, outcome, small_sweep
from tests.slow import slow

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

pytestmark = pytest.mark.vllm

LIMIT = 6
LOADS = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_SERVER_DEV_MODE": "1"}


@pytest.fixture
def content(family: "ToyFamily") -> dict[str, Any]:
    """Return a sweep of the base, its adapter, that scaled, and a checkpoint."""
    methods = [{"method": "linear", "lambda": [0.4, 0.8]}, {"method": "slerp", "lambda": [0.6]}]
    found = small_sweep(family, methods=methods)
    found["tasks"]["limit"] = LIMIT
    return found


@slow
def test_a_server_answers_as_the_engine_in_the_process_does(
    family: "ToyFamily", content: dict[str, Any], tmp_path: Path
) -> None:
    found = {}
    needs = check_servable(family.tuned[42])
    lora = (
        *("--enable-lora", "--max-lora-rank", str(max_lora_rank(needs.rank))),
        # On a CPU, one more than there are adapters.
        *("--max-loras", "4", "--lora-target-modules", *sorted(needs.modules)),
    )
    with serving(family.aligned, "toy", tmp_path, more=lora, environment=LOADS) as url:
        for name, engine in {
            "url": {"url": url, "model_args": {"num_concurrent": 16}},
            "vllm": {"model": "vllm", "model_args": {"dtype": "float32", "max_model_len": 2048}},
        }.items():
            folder = tmp_path / name
            folder.mkdir()
            Sweeps(folder, {**content, "engine": engine}).run(folder / "out", folder / "store")
            found[name] = outcome(folder / "out")
            if name == "url":
                folder = folder / "out"
                manifest = Manifest.read(folder)
                served = [one.served for one in manifest.variants]
                assert served == [*["adapter"] * 4, "checkpoint"]
                said = [run.summary()["config"]["replayed"] for run in find_runs(folder)]
                assert len(said) == 5 * 4
                for one in said:
                    assert one["probed"] is True
                    assert one["server"]["dtype"] == "float32"
                    assert one["server"]["version"].startswith("0.")
                    assert url not in json.dumps(one)
    assert found["url"] == found["vllm"]
