"""LoRA on the parameters that hold a layer's experts, against peft's own merge in float64."""

import shutil

import peft
import pytest
import torch
import transformers
from merge_models import SMALL, assert_rounded, doubles, edit_json, random_model, weights
from safetensors.torch import load_file, save_file

from merge import MergeError, merge

BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def qwen3_moe():
    return transformers.Qwen3MoeConfig(
        **SMALL, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12
    )


def mixtral():
    return transformers.MixtralConfig(**SMALL, num_local_experts=3)


def gpt_oss(**changes):
    settings = SMALL | {
        "num_local_experts": 3,
        "head_dim": 8,
        "layer_types": ["full_attention"] * 2,
    }
    return transformers.GptOssConfig(**(settings | changes))


FAMILIES = {
    # In files every expert has tensors of its own, by two kinds of names.
    "qwen3-moe": (qwen3_moe, {"target_parameters": BOTH}),
    "mixtral": (mixtral, {"target_parameters": BOTH, "use_rslora": True}),
    "one of two": (qwen3_moe, {"target_parameters": BOTH[1:]}),
    "a rank of its own": (
        qwen3_moe,
        {"target_parameters": BOTH, "rank_pattern": {r".*\.mlp.experts.gate_up_proj": 4}},
    ),
    # In files as in memory, with input and output the other way round, and biases beside.
    "gpt-oss": (gpt_oss, {"target_parameters": BOTH}),
    # A square parameter: its shape does not say which side is the input.
    "square": (lambda: gpt_oss(intermediate_size=16), {"target_parameters": BOTH[1:]}),
    "beside modules": (qwen3_moe, {"target_parameters": BOTH, "target_modules": ["q_proj"]}),
    "a router": (qwen3_moe, {"target_parameters": ["mlp.gate.weight", *BOTH]}),
    "a stack's biases": (gpt_oss, {"target_parameters": ["mlp.experts.gate_up_proj_bias"]}),
}


def trained(config, folder, **lora):
    """Write a base and an adapter on it; return the base and what peft makes of both."""
    random_model(config, 0).save_pretrained(folder / "base")
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(folder / "base", dtype=torch.float32)
    settings = {"r": 2, "lora_alpha": 5, "target_modules": []} | lora
    torch.manual_seed(4)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.3)
    wrapped.save_pretrained(folder / "adapter")
    merged = wrapped.double().merge_and_unload()
    merged.save_pretrained(folder / "merged")
    return doubles(folder / "base"), doubles(folder / "merged")


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_equal_peft(tmp_path, family):
    make, lora = FAMILIES[family]
    base, tuned = trained(make(), tmp_path, **lora)
    merge(
        "linear",
        base=tmp_path / "base",
        tuned=[tmp_path / "adapter"],
        lambdas=[0.3, 1],
        out=tmp_path / "out",
    )
    for scale in (0.3, 1):
        merged = weights(tmp_path / f"out/lambda-{scale:g}")
        assert merged.keys() == base.keys() == tuned.keys()
        for name, value in merged.items():
            exact = (1 - scale) * base[name] + scale * tuned[name]
            torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    assert any("experts" in name and not torch.equal(tuned[name], base[name]) for name in base)


def test_experts_in_the_layout_of_memory(tmp_path):
    trained(qwen3_moe(), tmp_path, target_parameters=BOTH)
    load = transformers.AutoModelForCausalLM.from_pretrained
    for name in ("base", "merged"):
        load(tmp_path / name).save_pretrained(tmp_path / f"{name}2", save_original_format=False)
    arguments = {"tuned": [tmp_path / "adapter"], "lambdas": [1]}
    merge("linear", base=tmp_path / "base2", out=tmp_path / "out", **arguments)
    tuned = doubles(tmp_path / "merged2")
    assert any(name.endswith("gate_up_proj") for name in tuned)
    for name, value in weights(tmp_path / "out").items():
        torch.testing.assert_close(value.double(), tuned[name], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    trained(qwen3_moe(), folder, target_parameters=BOTH)
    return folder


def edited(pair, out, change):
    folder = shutil.copytree(pair / "adapter", out)
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def without(ending):
    def change(tensors):
        for name in [name for name in tensors if f".{ending}." in name]:
            del tensors[name]

    return change


def zero(tensors):
    for name in tensors:
        if "lora_B" in name:
            tensors[name].zero_()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("experts.base_layer"), "target_parameters names .*has nothing for it"),
        (zero, "every B in it is zero"),
    ],
)
def test_experts_that_are_not_whole(tmp_path, pair, change, message):
    adapter = edited(pair, tmp_path / "adapter", change)
    with pytest.raises(MergeError, match=message):
        merge("linear", base=pair / "base", tuned=[adapter], lambdas=[1], out=tmp_path / "out")


def test_experts_of_another_rank(tmp_path, pair):
    adapter = shutil.copytree(pair / "adapter", tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", r=3)
    with pytest.raises(MergeError, match=r"fit none of its parameters .* at the configured rank"):
        merge("linear", base=pair / "base", tuned=[adapter], lambdas=[1], out=tmp_path / "out")


def test_experts_have_no_merged_adapter(tmp_path, pair):
    with pytest.raises(MergeError, match="updates experts' parameters.*remove --as adapter"):
        merge(
            "linear",
            base=pair / "base",
            tuned=[pair / "adapter"],
            lambdas=[1],
            output="adapter",
            out=tmp_path / "out",
        )


def test_experts_rounded_once(tmp_path):
    """The base's half-precision weight and the update are added before rounding."""
    trained(qwen3_moe(), tmp_path, target_parameters=BOTH)
    base = tmp_path / "half"
    load = transformers.AutoModelForCausalLM.from_pretrained
    load(tmp_path / "base", dtype=torch.bfloat16).save_pretrained(base)
    merge("linear", base=base, tuned=[tmp_path / "adapter"], lambdas=[0.7], out=tmp_path / "out")
    start, full = doubles(base), doubles(tmp_path / "merged")
    before = doubles(tmp_path / "base")
    for name, value in weights(tmp_path / "out").items():
        assert_rounded(value, start[name] + 0.7 * (full[name] - before[name]))
