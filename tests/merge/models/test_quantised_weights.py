"""Quantised weights are refused by what they are, whatever the configuration says."""

import pytest
import torch
import transformers
from merge_models import copy_with, edit_json
from merge_refusals import refused

from merge import merge

LAYER = "model.layers.0.self_attn.q_proj"
PACKED = {
    "gptq": {"qweight": torch.ones(2, 16, dtype=torch.int32), "scales": torch.ones(1, 16)},
    "awq": {"qzeros": torch.ones(1, 2, dtype=torch.int32), "qweight": torch.ones(16, 2).int()},
    "bitsandbytes": {"weight.absmax": torch.ones(4), "weight.quant_map": torch.ones(16)},
    "int8": {"SCB": torch.ones(16)},
    "fp8": {"weight_scale_inv": torch.ones(1, 1)},
    "compressed-tensors": {"weight_packed": torch.ones(16, 2, dtype=torch.int32)},
    "nvfp4": {"weight_scale_2": torch.ones(1)},
}


def packed(models, folder, method):
    """Copy a model with one layer stored as a quantiser does, in both models alike."""
    tensors = {f"{LAYER}.{name}": value.clone() for name, value in PACKED[method].items()}
    return copy_with(models(1), folder, {f"{LAYER}.weight": None, **tensors})


@pytest.mark.parametrize("method", PACKED)
@pytest.mark.parametrize("says_so", [True, False])
def test_quantised_tensors(tmp_path, models, method, says_so):
    base, tuned = (packed(models, tmp_path / name, method) for name in ("base", "tuned"))
    if says_so:
        edit_json(tuned / "config.json", quantization_config={"quant_method": method})
    message = refused(tmp_path, base, tuned, r"is quantised \(no quantization_config, it stores")
    assert (f"is quantised ({method}," in message) == says_so


def test_experts_in_blocks(tmp_path, models):
    """As gpt-oss stores them: the names of its experts have no point before the last part."""
    experts = {"model.layers.0.mlp.experts.down_proj_blocks": torch.ones(2, 2, dtype=torch.uint8)}
    tuned = copy_with(models(1), tmp_path / "tuned", experts)
    refused(tmp_path, models(0), tuned, "down_proj_blocks")


def test_eight_bit_floats(tmp_path, models):
    name = "model.norm.weight"
    tuned = copy_with(models(1), tmp_path / "t", {name: torch.zeros(16).to(torch.float8_e4m3fn)})
    refused(tmp_path, models(0), tuned, r"stores model.norm.weight as F8_E4M3")


def test_a_quantisers_file_beside_integers(tmp_path, models):
    names = {f"{LAYER}.weight": torch.ones(16, 16, dtype=torch.int8)}
    tuned = copy_with(models(1), tmp_path / "tuned", names)
    (tuned / "quantize_config.json").write_text("{}")
    refused(tmp_path, models(0), tuned, r"is quantised \(quantize_config.json")


@pytest.mark.parametrize("method", ["bitsandbytes", "fp8"])
def test_a_configuration_from_before_the_weights_were_turned_back(tmp_path, models, method):
    base = copy_with(models(0), tmp_path / "base", {})
    tuned = copy_with(models(1), tmp_path / "tuned", {})
    for folder in (base, tuned):
        edit_json(folder / "config.json", quantization_config={"quant_method": method})
    done = merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    assert sum("weights that are not quantised" in note for note in done.notes) == 2
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    assert not hasattr(config, "quantization_config")
