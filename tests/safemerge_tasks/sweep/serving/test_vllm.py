"""The toy family through real vLLM: one engine for many variants changes no response."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safemerge_tasks.results import find_runs
from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.record import record
from safemerge_tasks.sweep.serving.recording import Recording
from safemerge_tasks.sweep.serving.responses import Responses, compare_responses
from safemerge_tasks.sweep.serving.scoring import score
from tests.e2e.conftest import NEAR_LM_EVAL

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.vllm,
    pytest.mark.skipif(
        not find_spec("vllm") and not os.environ.get("CI"), reason="no vLLM fits this machine"
    ),
]

MODEL_ARGS = {"dtype": "float32", "max_model_len": 2048}
LAMBDAS = (0.4, 0.8)
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True)
class Served:
    """Where responses are, by how and by variant, and what was asked."""

    folder: Path
    family: "ToyFamily"
    evaluation: Evaluation
    adapter: Path

    def file(self, how: str, name: str) -> Path:
        return self.folder / how / f"{name}.json"

    def values(self, how: str, name: str) -> list[object]:
        return Responses.load(self.file(how, name)).values


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, water_tasks: Path) -> Served:
    """Serve the base and scaled adapters jointly and apart, and merged checkpoints."""
    import merge
    from safemerge_tasks.toy.family import toy_family
    from safemerge_tasks.toy.members import TASKS

    family = toy_family()
    folder = tmp_path_factory.mktemp("served")
    base = str(family.aligned)
    tuned = next(iter(family.tuned.values()))
    for output in ("adapter", "checkpoint"):
        merge.merge(
            "linear",
            base=base,
            tuned=[tuned],
            lambdas=LAMBDAS,
            out=folder / output,
            output=output,
        )
    toy = Evaluation(
        tasks=("toy_asr", "toy_task"),
        base=base,
        include_path=str(TASKS),
        limit=30,
        data_dir=str(family.questions),
    )
    water = ("water_sampled", "water_choice", "water_rolling")
    record(toy).save(folder / "toy-requests.json")
    record(Evaluation(tasks=water, base=base, include_path=str(water_tasks))).save(
        folder / "water-requests.json"
    )

    def variant(
        how: str, name: str, of: str | None = None, asks: str = "toy", **where: Path
    ) -> dict[str, str]:
        recording = folder / f"{asks}-requests.json"
        paths = {"recording": recording, "out": folder / how / f"{of or name}.json", **where}
        return {"name": name, **{key: str(path) for key, path in paths.items()}}

    low, high = (folder / "adapter" / f"lambda-{value}" for value in LAMBDAS)
    merged = [folder / "checkpoint" / f"lambda-{value}" for value in LAMBDAS]
    jobs = [
        # As many adapters as would fill all slots, and the base among and after them.
        (
            base,
            [
                variant("joint", "low", adapter=low),
                variant("joint", "water-base", asks="water"),
                variant("joint", "high", adapter=high),
                variant("joint", "water-high", asks="water", adapter=high),
                variant("joint", "base"),
            ],
            MODEL_ARGS,
        ),
        (base, [variant("alone", "water-high", asks="water", adapter=high)], MODEL_ARGS),
        (
            None,
            [
                variant("in-place", "low", checkpoint=merged[0]),
                variant("in-place", "high", checkpoint=merged[1]),
                variant("in-place", "base", checkpoint=family.aligned),
                variant("in-place", "low again", checkpoint=merged[0]),
                # All weights are others, the tied embeddings too.
                variant("in-place", "full", checkpoint=family.tuned_full),
                variant("in-place", "water-base", asks="water", checkpoint=family.aligned),
            ],
            MODEL_ARGS,
        ),
        (None, [variant("fresh", "high", checkpoint=merged[1])], MODEL_ARGS),
        (None, [variant("fresh", "full", checkpoint=family.tuned_full)], MODEL_ARGS),
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("serve.py")
    ran = subprocess.run(
        [sys.executable, str(script), str(folder / "jobs.json")],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("done ") == 14
    return Served(folder, family, toy, high)


def same(served: Served, one: tuple[str, str], other: tuple[str, str]) -> tuple[int, int]:
    found = compare_responses(served.file(*one), served.file(*other))
    return found.equal, found.total


def test_an_adapter_among_others_answers_as_in_lm_evals_own_run(
    served: Served, tmp_path: Path
) -> None:
    model_args = {
        "pretrained": served.evaluation.base,
        "enable_lora": True,
        "lora_local_path": str(served.adapter),
        "max_lora_rank": 8,
        "enforce_eager": True,
        "distributed_executor_backend": "uni",
        **MODEL_ARGS,
    }
    command = [
        *(sys.executable, "-P", NEAR_LM_EVAL, "run", "--model", "vllm", "--model_args"),
        *(",".join(f"{key}={value}" for key, value in model_args.items()), "--tasks"),
        *(",".join(served.evaluation.tasks), "--include_path", served.evaluation.include_path),
        *("--limit", "30", "--batch_size", "auto", "--apply_chat_template", "--log_samples"),
        *("--metadata", "judge=deferred", "--output_path", str(tmp_path / "own")),
    ]
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "SAFEMERGE_DATA_DIR": str(served.family.questions),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    subprocess.run([str(word) for word in command], env=environment, check=True)
    own = find_runs(tmp_path / "own")[0]
    recording = Recording.load(served.folder / "toy-requests.json")
    responses = served.file("joint", "high")
    ours = score(served.evaluation, recording, responses, tmp_path / "ours", model_args)
    assert ours.summary()["results"] == own.summary()["results"]
    assert ours.summary()["config"]["model_args"] == own.summary()["config"]["model_args"]
    for task in served.evaluation.tasks:
        assert ours.rows(task) == own.rows(task)
        assert "truncated_rate" in ours.rows("toy_asr")[0]


def test_the_base_is_untouched_by_the_adapters_beside_it(served: Served) -> None:
    assert same(served, ("joint", "base"), ("in-place", "base")) == (60, 60)
    joint, alone = served.values("joint", "water-base"), served.values("in-place", "water-base")
    assert joint[:9] == alone[:9]  # sampled
    assert joint[9:18] == [
        [pytest.approx(value, abs=1e-3), greedy] for value, greedy in alone[9:18]
    ]
    assert joint[18:] == pytest.approx(alone[18:], abs=1e-2)


def test_sampled_responses_depend_on_neither_the_batch_nor_each_other(served: Served) -> None:
    joint, alone = served.values("joint", "water-high"), served.values("alone", "water-high")
    assert joint[:9] == alone[:9]
    assert len(set(joint[:9])) > 6  # three repeats of three documents
    assert joint[:9] != served.values("joint", "water-base")[:9]


def test_an_adapter_answers_as_the_merged_checkpoint(served: Served) -> None:
    for name in ("low", "high"):
        equal, total = same(served, ("joint", name), ("in-place", name))
        assert total == 60
        assert equal >= 58  # other sums in float32 may break a tie
    assert same(served, ("joint", "low"), ("joint", "high")) != (60, 60)


def test_weights_loaded_in_place_answer_as_in_an_engine_of_their_own(served: Served) -> None:
    assert served.values("in-place", "high") == served.values("fresh", "high")
    # What was loaded first comes back after two others, so nothing of theirs is left.
    assert served.values("in-place", "low again") == served.values("in-place", "low")
    assert Responses.load(served.file("in-place", "high")).engine["loaded_in_place"]


def test_tied_embeddings_that_differ_are_loaded_in_place_too(served: Served) -> None:
    assert Responses.load(served.file("in-place", "full")).engine["loaded_in_place"]
    assert served.values("in-place", "full") == served.values("fresh", "full")
    assert served.values("in-place", "full") != served.values("in-place", "base")


def test_the_engine_is_described(served: Served) -> None:
    facts = Responses.load(served.file("joint", "high")).engine
    assert facts["model"] == "vllm"
    assert facts["dtype"] == "float32"
    assert facts["max_model_len"] == 2048
    assert facts["model_args"]["max_lora_rank"] == 8
    assert facts["adapter"] == str(served.adapter)
    assert served.evaluation.base == facts["model_args"]["pretrained"]
