"""An engine's log-probabilities against those of the weights it is said to have."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from merge_models import random_model, write_tokenizer

from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.merges import Merge
from safemerge_tasks.sweep.serving.probe import (
    LENGTH,
    compare,
    load_reference,
    log_probabilities,
    probe_tokens,
)
from safemerge_tasks.sweep.serving.record import record
from safemerge_tasks.sweep.serving.responses import Responses
from tests.slow import SLOW

SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
FAMILIES: dict[str, tuple[type, dict[str, Any]]] = {
    "llama": (transformers.LlamaConfig, {}),
    "gemma": (transformers.Gemma2Config, {}),
    "qwen": (transformers.Qwen3Config, {}),
    "moe": (transformers.Qwen3MoeConfig, EXPERTS),
}


def config_of(family: str, *, tied: bool) -> Any:
    kind, more = FAMILIES[family]
    return kind(**SMALL, **more, vocab_size=512, tie_word_embeddings=tied)


def write(folder: Path, family: str, seed: int, *, tied: bool) -> Path:
    """Write a random model of which every tensor differs from another seed's."""
    model = random_model(config_of(family, tied=tied), seed)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    write_tokenizer(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    # Rolling log-likelihoods begin with it.
    tokenizer.eos_token = "w1"
    tokenizer.save_pretrained(folder)
    return folder


def test_the_prompt_is_spread_over_the_vocabulary() -> None:
    tokens = probe_tokens(32_000)
    assert len(set(tokens)) == LENGTH
    assert all(0 <= token < 32_000 for token in tokens)
    assert max(tokens) - min(tokens) > 16_000
    assert set(probe_tokens(7)) <= set(range(7))


def test_log_probabilities_by_hand(tmp_path: Path) -> None:
    model = load_reference(write(tmp_path / "one", "llama", 1, tied=True), "float32")
    tokens = probe_tokens(512)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].double()
    expected = [
        float(logits[n, tokens[n + 1]] - torch.logsumexp(logits[n], 0)) for n in range(LENGTH - 1)
    ]
    assert log_probabilities(model, tokens) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_give_the_reference_that_the_files_give(
    tmp_path: Path, family: str, tied: bool
) -> None:
    folders = [write(tmp_path / f"{seed}", family, seed, tied=tied) for seed in (1, 2)]
    merge = Merge(merging(folders, 0.5))
    merge.write_all_but_weights(tmp_path / "empty")
    assert not list((tmp_path / "empty").glob("*.safetensors"))
    merge.write(tmp_path / "whole")
    tokens = probe_tokens(512)
    read = log_probabilities(load_reference(tmp_path / "whole", "float32"), tokens)
    made = load_reference(tmp_path / "empty", "float32", tensors=merge.tensors())
    assert log_probabilities(made, tokens) == read
    for folder in folders:
        other = log_probabilities(load_reference(folder, "float32"), tokens)
        assert compare(other, read, 0.01) is not None


def test_an_adapter_is_put_on_and_taken_off(tmp_path: Path) -> None:
    base = write(tmp_path / "base", "llama", 1, tied=True)
    wrapped = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(base),
        peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False),
    )
    wrapped.save_pretrained(tmp_path / "adapter")
    tokens = probe_tokens(512)
    model = load_reference(base, "float32")
    plain = log_probabilities(model, tokens)
    merged = wrapped.merge_and_unload()
    found = log_probabilities(model, tokens, tmp_path / "adapter")
    assert found == pytest.approx(log_probabilities(merged, tokens), abs=1e-4)
    assert found != pytest.approx(plain, abs=1e-3)
    assert log_probabilities(model, tokens) == plain


def test_what_is_a_mismatch() -> None:
    own, before = [-1.0, -2.0, -3.0], [-1.06, -2.06, -3.06]
    assert compare(own, own, 0.01, before) is None
    far = compare([-1.0, -2.0, -3.9], own, 0.25)
    assert far is not None
    assert far.distance == pytest.approx(0.3)
    assert "log-probabilities are 0.3 off those of its weights" in str(far)
    # The old weights, within the limit of the new ones.
    old = compare([-1.05, -2.05, -3.05], own, 0.25, before)
    assert old is not None
    assert "and 0.01 off those that were loaded before" in str(old)
    assert compare([float("nan")] * 3, own, 0.25) is not None
    # Two that hardly differ: the nearer one is chance.
    assert compare([-1.04, -2.04, -3.04], own, 0.25, [-1.01, -2.01, -3.01]) is None


def test_single_tokens_that_rounding_tips_over_do_not_count() -> None:
    own = [-15.0 - number / 7 for number in range(LENGTH - 1)]
    rounded = [value + 0.06 for value in own]
    # As measured on a real model: an attention sink, in bfloat16.
    tipped = [rounded[0], rounded[1] - 5.16, *rounded[2:]]
    assert compare(tipped, own, 0.25) is None
    twice = [tipped[0], tipped[1], tipped[2] + 4.0, *tipped[3:]]
    assert compare(twice, own, 0.25) is None
    # One token in six is no longer rounding, whichever way.
    assert compare([value - 3.0 * (n % 6 == 0) for n, value in enumerate(own)], own, 0.25)
    # Half of all tokens a little.
    assert compare([value + 0.9 * (n % 2) for n, value in enumerate(own)], own, 0.25)
    assert compare([*rounded[:-1], float("nan")], own, 0.25)


SMALL_ENGINE = {"dtype": "float32", "max_model_len": 256}
with_vllm = pytest.mark.skipif(
    not find_spec("vllm") and not os.environ.get("CI"), reason="no vLLM fits this machine"
)


def rolling(base: Path, tasks: Path) -> Evaluation:
    return Evaluation(tasks=("water_rolling",), base=str(base), include_path=str(tasks))


def merging(folders: list[Path], weight: float) -> dict[str, Any]:
    base, tuned = map(str, folders)
    recipe = {"method": "linear", "base": base, "tuned": [{"model": tuned}]}
    return {**recipe, "lambdas": [weight]}


def answers(path: Path) -> list[Any]:
    return Responses.load(path).values


def serve(jobs: list[Any], folder: Path, before: str = "") -> "subprocess.CompletedProcess[str]":
    """Have a process answer, after some code of its own."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = f"{before}\nimport runpy\nrunpy.run_path({str(SERVE)!r}, run_name='__main__')"
    ran = subprocess.run(
        [sys.executable, "-c", script, str(folder / "jobs.json")],
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_NO_USAGE_STATS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran


SERVE = Path(__file__).with_name("serve.py")

# The reference takes a merge's tensors first, and the engine after it.
WRONG = """
from safemerge_tasks.sweep.serving import merges
own, asked = merges.Merge.tensors, []

def tensors(self):
    asked.append(self)
    for name, tensor in own(self):
        wrong = len(asked) == 2 and name.endswith("layers.1.mlp.up_proj.weight")
        yield name, -tensor if wrong else tensor

merges.Merge.tensors = tensors
"""


@pytest.mark.e2e
@pytest.mark.vllm
@with_vllm
def test_one_wrong_tensor_is_noticed_and_the_merge_written(
    water_tasks: Path, tmp_path: Path
) -> None:
    folders = [write(tmp_path / f"model-{seed}", "llama", seed, tied=True) for seed in (1, 2)]
    made = record(rolling(folders[0], water_tasks))
    made.save(tmp_path / "requests.json")
    variants = [
        {
            "name": name,
            "merge": merging(folders, weight),
            "recording": str(tmp_path / "requests.json"),
            "out": str(tmp_path / f"{name}.json"),
        }
        for name, weight in (("bad", 0.5), ("good", 0.25), ("good again", 0.75))
    ]
    ran = serve([[None, variants, SMALL_ENGINE]], tmp_path, WRONG)
    assert "bad gets an engine of its own: the engine's log-probabilities are" in ran.stderr
    facts = {one["name"]: Responses.load(Path(one["out"])).engine for one in variants}
    assert {name: one["loaded_in_place"] for name, one in facts.items()} == {
        "bad": False,
        "good": True,
        "good again": True,
    }
    assert ["merge" in one for one in facts.values()] == [False, True, True]
    again = [{**one, "out": f"{one['out']}.right"} for one in variants]
    right = serve([[None, again, SMALL_ENGINE]], tmp_path)
    assert "of its own" not in right.stderr
    for one in variants:
        found = answers(Path(f"{one['out']}.right"))
        assert answers(Path(one["out"])) == pytest.approx(found, abs=1e-3)


@pytest.mark.e2e
@pytest.mark.vllm
@with_vllm
def test_every_tensor_changes_in_place(water_tasks: Path, tmp_path: Path) -> None:
    """Weights that share nothing answer as transformers does, whichever came before.

    All in one process: importing vLLM takes longer than an engine.
    """
    models, jobs = [], []
    for family in FAMILIES:
        # vLLM's Gemma has no head of its own.
        for tied in (True,) if family == "gemma" else (True, False):
            if not SLOW and (family, tied) not in (
                ("llama", True),
                ("gemma", True),
                ("moe", False),
            ):
                continue
            place = tmp_path / f"{family}-{'tied' if tied else 'untied'}"
            folders = [write(place / f"model-{seed}", family, seed, tied=tied) for seed in (1, 2)]
            made = record(rolling(folders[0], water_tasks))
            made.save(place / "requests.json")
            half = merging(folders, 0.5)
            Merge(half).write(place / "half")
            order = [("one", folders[0]), ("two", folders[1])]
            order += [("half", place / "half"), ("one again", folders[0])]
            # One engine for checkpoints and merges; then one that begins with a merge.
            mixed = [
                {"name": "one", "checkpoint": str(folders[0])},
                {"name": "half", "merge": half},
                {"name": "two", "checkpoint": str(folders[1])},
                {"name": "one again", "merge": merging(folders, 0.0)},
            ]
            for number, variants in enumerate((mixed, [mixed[1], mixed[3]])):
                for one in variants:
                    files = {"recording": place / "requests.json"}
                    files["out"] = place / f"{one['name']}-{number}.json"
                    one |= {name: str(path) for name, path in files.items()}
                jobs.append([None, [dict(one) for one in variants], SMALL_ENGINE])
            models.append((place, made, order))
    serve(jobs, tmp_path)
    for place, made, order in models:
        values = {name: answers(place / f"{name}-0.json") for name, _ in order}
        assert values["one"] == pytest.approx(values["one again"], abs=1e-3), place.name
        for name in ("half", "one again"):
            assert values[name] == pytest.approx(answers(place / f"{name}-1.json"), abs=1e-3)
        for name, folder in order:
            model = load_reference(folder, "float32")
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            for request, value in zip(made.requests, values[name], strict=True):
                tokens = tokenizer(request.arguments[0], add_special_tokens=False)["input_ids"]
                expected = sum(log_probabilities(model, [tokenizer.eos_token_id, *tokens]))
                assert value == pytest.approx(expected, rel=1e-3, abs=1e-2), (place.name, name)
