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
from safemerge_tasks.sweep.serving.probe import (
    LENGTH,
    compare,
    load_reference,
    log_probabilities,
    probe_tokens,
)
from safemerge_tasks.sweep.serving.record import record
from safemerge_tasks.sweep.serving.responses import Responses

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


@pytest.mark.e2e
@pytest.mark.vllm
@pytest.mark.skipif(
    not find_spec("vllm") and not os.environ.get("CI"), reason="no vLLM fits this machine"
)
def test_every_tensor_changes_in_place(water_tasks: Path, tmp_path: Path) -> None:
    """Checkpoints that share nothing answer as transformers does, whichever came before.

    All in one process: importing vLLM takes longer than an engine.
    """
    models, jobs = [], []
    for family in FAMILIES:
        # vLLM's Gemma has no head of its own.
        for tied in (True,) if family == "gemma" else (True, False):
            place = tmp_path / f"{family}-{'tied' if tied else 'untied'}"
            folders = [write(place / f"model-{seed}", family, seed, tied=tied) for seed in (1, 2)]
            tasks = ("water_rolling",)
            made = record(Evaluation(tasks, str(folders[0]), include_path=str(water_tasks)))
            made.save(place / "requests.json")
            order = [("one", folders[0]), ("two", folders[1]), ("one again", folders[0])]
            variants = [
                {
                    "name": name,
                    "recording": str(place / "requests.json"),
                    "out": str(place / f"{name}.json"),
                    "checkpoint": str(folder),
                }
                for name, folder in order
            ]
            models.append((place, made, order))
            jobs.append([None, variants, {"dtype": "float32", "max_model_len": 256}])
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("serve.py")), str(tmp_path / "jobs.json")],
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
    for place, made, order in models:
        values = {name: Responses.load(place / f"{name}.json").values for name, _ in order}
        assert values["one"] == pytest.approx(values["one again"], abs=1e-3), place.name
        for name, folder in order:
            model = load_reference(folder, "float32")
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            for request, value in zip(made.requests, values[name], strict=True):
                tokens = tokenizer(request.arguments[0], add_special_tokens=False)["input_ids"]
                expected = sum(log_probabilities(model, [tokenizer.eos_token_id, *tokens]))
                assert value == pytest.approx(expected, rel=1e-3, abs=1e-2), (place.name, name)
