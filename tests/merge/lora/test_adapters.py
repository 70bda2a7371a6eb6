"""LoRA adapters as inputs, against peft's own merge of the same files in float64."""

import peft
import pytest
import torch
import transformers
from merge_models import assert_rounded, doubles, edit_json, peft_merged, weights

from merge import MergeError, Options, merge

VARIANTS = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "patterns": {
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"layers.1.mlp.up_proj": 3, "q_proj": 16},
    },
    # Patterns are of the end of a module's name, so these match none.
    "patterns of no end": {"alpha_pattern": {"layers.1": 50, "roj": 99, "self_attn": 70}},
    "dora": {"use_dora": True, "rank_pattern": {"q_proj": 2}},
    "embeddings": {"target_modules": ["embed_tokens", "v_proj"]},
    "replaced head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [3, 40]}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_peft(tmp_path, models, adapters, variant):
    adapter = adapters(1, **VARIANTS[variant])
    merge("linear", base=models(0), tuned=[adapter], lambdas=[0.4, 1], out=tmp_path / "out")
    base, tuned = doubles(models(0)), peft_merged(models(0), adapter)
    changed = 0
    for scale in (0.4, 1):
        for name, tensor in weights(tmp_path / f"out/lambda-{scale:g}").items():
            assert_rounded(tensor, (1 - scale) * base[name] + scale * tuned[name].double())
            changed += int(not torch.equal(tensor.double(), base[name]))
    assert changed >= 2 * 2


@pytest.mark.parametrize("lora", [{"bias": "all"}, {"lora_bias": True}])
def test_biases(tmp_path, models, adapters, lora):
    base = models(0, attention_bias=True)
    adapter = adapters(2, base=base, target_modules=["q_proj", "k_proj"], **lora)
    options = Options(block_elements=7)
    merge("linear", base=base, tuned=[adapter], lambdas=[1], out=tmp_path / "out", options=options)
    tuned, merged = peft_merged(base, adapter), weights(tmp_path / "out")
    name = "model.layers.1.self_attn.q_proj.bias"
    assert not torch.equal(merged[name], weights(base)[name])
    for name, tensor in merged.items():
        assert_rounded(tensor, tuned[name].double())


def test_transposed_weights(tmp_path):
    """GPT-2 stores its weights as `[in, out]`."""
    from merge_models import random_model

    config = transformers.GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=16)
    random_model(config, 0).save_pretrained(tmp_path / "base")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    lora = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    wrapped = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape))
    wrapped.save_pretrained(tmp_path / "adapter")
    merge(
        "linear",
        base=tmp_path / "base",
        tuned=[tmp_path / "adapter"],
        lambdas=[1],
        out=tmp_path / "out",
    )
    tuned = peft_merged(tmp_path / "base", tmp_path / "adapter")
    name = "transformer.h.1.attn.c_attn.weight"
    torch.testing.assert_close(
        weights(tmp_path / "out")[name].double(), tuned[name], rtol=1e-6, atol=1e-6
    )


def test_adapter_mixed_with_full_model(tmp_path, models, adapters):
    adapter = adapters(1)
    merge("linear", base=models(0), tuned=[adapter, models(2)], lambdas=[0.5], out=tmp_path / "out")
    base, full, tuned = doubles(models(0)), doubles(models(2)), peft_merged(models(0), adapter)
    for name, tensor in weights(tmp_path / "out").items():
        exact = 0.5 * base[name] + 0.25 * (tuned[name].double() + full[name])
        assert_rounded(tensor, exact)


def test_model_plus_adapter_has_a_base_of_its_own(tmp_path, models, adapters):
    adapter = adapters(1)
    merge(
        "linear",
        base=models(2),
        tuned=[f"{models(0)}+{adapter}"],
        lambdas=[1],
        out=tmp_path / "out",
    )
    tuned = peft_merged(models(0), adapter)
    for name, tensor in weights(tmp_path / "out").items():
        assert_rounded(tensor, tuned[name].double())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"r": 5}, "rank 5"),
    ],
)
def test_unknown_variants_are_refused(tmp_path, models, adapters, changes, message):
    import shutil

    adapter = tmp_path / "adapter"
    shutil.copytree(adapters(1), adapter)
    edit_json(adapter / "adapter_config.json", **changes)
    with pytest.raises(MergeError, match=message):
        merge("linear", base=models(0), tuned=[adapter], lambdas=[1], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapter_of_another_model(tmp_path, models, adapters):
    wide = models(0, hidden_size=32)
    with pytest.raises(
        MergeError, match=r"does not fit its base: .*q_proj.*\[16, 16\].*\[32, 32\]"
    ):
        merge("linear", base=wide, tuned=[adapters(1)], lambdas=[1], out=tmp_path / "out")


def test_adapter_as_base(tmp_path, models, adapters):
    with pytest.raises(MergeError, match="the base has to be a full model"):
        merge("linear", base=adapters(1), tuned=[models(0)], lambdas=[1], out=tmp_path / "out")
