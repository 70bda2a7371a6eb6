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


UNNAMED = {
    "HQQ": {"W_q": torch.ones(8, 16, dtype=torch.uint8), "scale": torch.ones(16, 1)},
    "quanto": {"weight._data": torch.ones(16, 16, dtype=torch.int8)},
    "torchao": {"weight:_weight_qdata": torch.ones(16, 16, dtype=torch.int8)},
    "VPTQ": {"indices": torch.ones(1, 4, 8).int(), "centroids.weight": torch.ones(1, 64)},
    "integers": {"weight": torch.ones(16, 16, dtype=torch.int8)},
}


@pytest.mark.parametrize("method", UNNAMED)
def test_codes_that_no_file_calls_quantised(tmp_path, models, method):
    """In both models alike, so that no tensor is missing in one of them."""
    tensors = {f"{LAYER}.weight": None} | {
        f"{LAYER}.{name}": value for name, value in UNNAMED[method].items()
    }
    base, tuned = (copy_with(models(seed), tmp_path / str(seed), tensors) for seed in (0, 1))
    refused(tmp_path, base, tuned, r"is quantised \(no quantization_config")


def test_a_nested_configuration_from_before_is_not_kept(tmp_path, models):
    parts = {"model_type": "llama", "num_hidden_layers": 2}
    for seed, more in ((0, {"quantization_config": {"quant_method": "bitsandbytes"}}), (1, {})):
        folder = copy_with(models(seed), tmp_path / str(seed), {})
        edit_json(folder / "config.json", text_config=parts | more)
    merge(
        "linear", base=tmp_path / "0", tuned=[tmp_path / "1"], lambdas=[0.5], out=tmp_path / "out"
    )
    assert "quantization_config" not in (tmp_path / "out/config.json").read_text()
