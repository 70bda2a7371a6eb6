"""LoRA on the parameters that hold a layer's experts, against peft's own merge in float64."""

import shutil

import pytest
import torch
import transformers
from expert_models import BOTH, FAMILIES, qwen3_moe, trained
from merge_models import assert_rounded, doubles, edit_json, weights
from safetensors.torch import load_file, save_file

from merge import MergeError, merge


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
