"""Merged adapters against the merged checkpoints of the same recipe, loaded by peft."""

import json

import peft
import pytest
import torch
import transformers
from merge_models import copy_with, peft_merged, weights

from merge import MergeError, merge, verify


def as_both(tmp_path, method, base, **arguments):
    """Merge to a checkpoint and to an adapter, both in float32."""
    for output in ("checkpoint", "adapter"):
        merge(method, base=base, output=output, out=tmp_path / output, **arguments)
    verify(tmp_path / "adapter")
    return tmp_path / "checkpoint", tmp_path / "adapter"


def assert_same_model(base, checkpoint, adapter):
    merged, loaded = weights(checkpoint), peft_merged(base, adapter)
    for name, tensor in merged.items():
        torch.testing.assert_close(loaded[name].double(), tensor.double(), rtol=1e-5, atol=1e-6)
    tokens = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(0))
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    logits = peft.PeftModel.from_pretrained(model, adapter)(tokens).logits
    expected = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)(tokens).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)(tokens).logits
    assert (plain - expected).abs().max() > 0.01


@pytest.fixture(scope="session")
def base(models):
    return models(0, dtype="float32", attention_bias=True)


VARIANTS = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}},
    "lora bias": {"lora_bias": True, "target_modules": ["q_proj", "k_proj"]},
    "trained biases": {"bias": "all", "target_modules": ["q_proj"]},
    "replaced head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [3, 9]}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_scaled_adapter(tmp_path, base, adapters, variant):
    adapter = adapters(1, base=base, **VARIANTS[variant])
    found = as_both(tmp_path, "linear", base, tuned=[adapter], lambdas=[0.6])
    assert_same_model(base, *found)


def test_sum_of_adapters_has_no_cross_terms(tmp_path, base, adapters):
    tuned = [
        adapters(1, base=base),
        adapters(2, base=base, r=2, target_modules=["q_proj", "v_proj"], use_rslora=True),
    ]
    found = as_both(tmp_path, "task-arithmetic", base, tuned=tuned, lambdas=[0.8])
    assert_same_model(base, *found)
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["r"] == 6


def test_mean_of_adapters(tmp_path, base, adapters):
    """Weights are shares: two adapters of weight 1 count half each."""
    tuned = [adapters(1, base=base), adapters(2, base=base, r=2, target_modules=["q_proj"])]
    found = as_both(tmp_path, "linear", base, tuned=tuned, lambdas=[0.9])
    assert_same_model(base, *found)


def test_resta(tmp_path, base, adapters):
    arguments = {
        "tuned": [adapters(1, base=base)],
        "unaligned": str(adapters(2, base=base)),
        "parameters": {"gamma": 0.5},
    }
    assert_same_model(base, *as_both(tmp_path, "resta", base, **arguments))


def test_safe_lora(tmp_path, base, models, adapters):
    arguments = {
        "tuned": [adapters(1, base=base)],
        "unaligned": str(models(2, dtype="float32", attention_bias=True)),
        "parameters": {"layers": 5},
    }
    merge("safe-lora", base=base, out=tmp_path / "checkpoint", **arguments)
    with pytest.raises(MergeError, match="is not an adapter on"):
        merge(
            "resta",
            base=base,
            output="adapter",
            out=tmp_path / "x",
            **arguments | {"parameters": {}},
        )
    done = merge("safe-lora", base=base, output="adapter", out=tmp_path / "adapter", **arguments)
    assert done.report["updates projected"] == 5
    assert_same_model(base, tmp_path / "checkpoint", tmp_path / "adapter")


def test_several_lambdas(tmp_path, base, adapters):
    done = merge(
        "linear",
        base=base,
        tuned=[adapters(1, base=base)],
        lambdas=[0.2, 0.4],
        output="adapter",
        out=tmp_path / "out",
    )
    assert len(verify(tmp_path / "out")) == 2
    small, large = (weights(folder) for folder in done.folders)
    for name, tensor in small.items():
        factor = 2 if "lora_B" in name else 1
        torch.testing.assert_close(tensor * factor, large[name])


@pytest.mark.parametrize(
    ("method", "tuned", "parameters", "message"),
    [
        ("slerp", "adapter", {}, "result of slerp .* is no LoRA adapter"),
        ("dare-linear", "adapter", {"drop_rate": 0.2}, "is no LoRA adapter"),
        ("linear", "model", {}, "is not an adapter on"),
    ],
)
def test_what_is_no_adapter_is_refused(
    tmp_path, base, models, adapters, method, tuned, parameters, message
):
    other = copy_with(models(1, dtype="float32", attention_bias=True), tmp_path / "model", {})
    with pytest.raises(MergeError, match=message):
        merge(
            method,
            base=base,
            tuned=[other if tuned == "model" else adapters(1, base=base)],
            lambdas=[0.5],
            parameters=parameters,
            output="adapter",
            out=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()
