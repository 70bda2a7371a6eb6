"""Outputs in fp8: what compressed-tensors' library and transformers read, within its rounding."""

import json

import pytest
import torch
import transformers
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from merge_models import copy_with, edit_json, llama_config, random_model, weights

from merge import MergeError, Options, build_recipe, check, merge, merge_recipes, verify
from merge.output.manifest import read_manifest


@pytest.fixture(scope="module")
def merged(tmp_path_factory, models):
    """Return the folders of one merge in fp8 and in float32."""
    root = tmp_path_factory.mktemp("fp8")
    for dtype in ("fp8", "float32"):
        merge(
            "linear", base=models(0), tuned=[models(1)], lambdas=[0.4], dtype=dtype,
            out=root / dtype, options=Options(threads=2, block_elements=100),
        )  # fmt: skip
    return root / "fp8", root / "float32"


def test_matrices_are_codes_with_a_scale_for_each_row(merged):
    fp8, exact = weights(merged[0]), weights(merged[1])
    config = json.loads((merged[0] / "config.json").read_text())
    parsed = QuantizationConfig.model_validate(config["quantization_config"])
    scheme = parsed.config_groups["group_0"]
    compressor = BaseCompressor.get_value_from_registry(config["quantization_config"]["format"])
    seen = 0
    for name, value in exact.items():
        if not name.endswith("_proj.weight"):
            assert fp8[name].dtype == torch.bfloat16
            assert torch.equal(fp8[name], value.bfloat16())
            continue
        seen += 1
        scale = fp8[f"{name}_scale"]
        assert (fp8[name].dtype, scale.shape) == (torch.float8_e4m3fn, (value.shape[0], 1))
        torch.testing.assert_close(scale[:, 0], value.abs().amax(1) / 448, rtol=1e-6, atol=0)
        read = compressor.decompress({"weight": fp8[name], "weight_scale": scale}, scheme)["weight"]
        # Half a step: a sixteenth of numbers with three binary places, and the same of small ones.
        limit = (value.abs() / 16).maximum(scale * 2.0**-10)
        assert bool(((read - value).abs() <= limit * 1.001).all())
        # A row's greatest entry is one of the codes.
        greatest = value.abs().argmax(1, keepdim=True)
        torch.testing.assert_close(
            read.gather(1, greatest), value.gather(1, greatest), rtol=1e-6, atol=0
        )
    assert seen == 14
    assert len(fp8) == len(exact) + seen
    assert set(parsed.ignore) == {"model.embed_tokens", "lm_head"}
    assert config["dtype"] == "bfloat16"


def test_it_is_a_whole_checkpoint(merged):
    verify(merged[0])
    manifest = read_manifest(merged[0])
    name = "model.layers.1.mlp.up_proj.weight_scale"
    assert manifest["tensors"][name]["shape"] == [24, 1]
    stored = bytearray((merged[0] / "model.safetensors").read_bytes())
    stored[-1] ^= 1
    (merged[0] / "model.safetensors").write_bytes(stored)
    with pytest.raises(MergeError, match="was changed"):
        verify(merged[0])
    stored[-1] ^= 1
    (merged[0] / "model.safetensors").write_bytes(stored)


def test_transformers_computes_with_it(merged):
    """Its answers are those of the numbers, whatever it does with activations."""
    model = transformers.AutoModelForCausalLM.from_pretrained(merged[0])
    plain = transformers.AutoModelForCausalLM.from_pretrained(merged[1])
    tokens = torch.arange(3, 19).unsqueeze(0)
    found, exact = (each(tokens).logits.float() for each in (model, plain))
    error = (found - exact).norm() / exact.norm()
    assert error < 0.1


def test_it_is_read_again_on_request(tmp_path, models, merged):
    merge(
        "linear", base=models(0), tuned=[merged[0]], lambdas=[1.0], dtype="float32",
        dequantize=True, out=tmp_path / "out",
    )  # fmt: skip
    fp8 = weights(merged[0])
    for name, value in weights(tmp_path / "out").items():
        scale = fp8.get(f"{name}_scale", torch.ones(1))
        assert torch.equal(value, fp8[name].float() * scale)


def test_threads_blocks_and_shards_change_nothing(tmp_path, models, merged):
    for number, (threads, block) in enumerate([(1, 262_144), (3, 7)]):
        merge(
            "linear", base=models(0), tuned=[models(1)], lambdas=[0.4, 0.9], dtype="fp8",
            max_shard_size=4000, out=tmp_path / str(number),
            options=Options(threads=threads, block_elements=block),
        )  # fmt: skip
        verify(tmp_path / str(number))
        found = weights(tmp_path / str(number) / "lambda-0.4")
        first = weights(merged[0])
        assert found.keys() == first.keys()
        for name, value in first.items():
            assert torch.equal(found[name].view(torch.uint8), value.view(torch.uint8))


@pytest.mark.parametrize("method", ["della", "sce"])
def test_methods_that_see_rows_and_tensors(tmp_path, models, method):
    for dtype in ("fp8", "float32"):
        merge(
            method, base=models(0), tuned=[models(1), models(2)], dtype=dtype, out=tmp_path / dtype
        )
    fp8, exact = weights(tmp_path / "fp8"), weights(tmp_path / "float32")
    for name in (each for each in exact if each.endswith("_proj.weight")):
        read = fp8[name].float() * fp8[f"{name}_scale"]
        assert (read - exact[name]).norm() < 0.05 * exact[name].norm()


def test_zeros_and_routers(tmp_path, models):
    """A row of zeros has a scale of 1, and a router keeps its type."""
    changes = {name: tensor.clone() for name, tensor in weights(models(0)).items()}
    name, router = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.gate.weight"
    changes[name][3] = 0
    changes[router] = torch.ones(4, 16).bfloat16()
    base = copy_with(models(0), tmp_path / "base", changes)
    tuned = copy_with(models(0), tmp_path / "tuned", changes)
    merge("linear", base=base, tuned=[tuned], lambdas=[1], dtype="fp8", out=tmp_path / "out")
    found = weights(tmp_path / "out")
    assert float(found[f"{name}_scale"][3]) == 1
    assert not found[name].float()[3].any()
    assert found[router].dtype == torch.bfloat16
    config = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    assert set(config["ignore"]) == {"lm_head", "model.embed_tokens", router[: -len(".weight")]}


def test_space_is_what_is_written(tmp_path, models):
    recipe = build_recipe(
        method="linear", base=str(models(0)), tuned=[{"model": str(models(1))}], lambdas=[0.5],
        dtype="fp8",
    )  # fmt: skip
    plan = check(recipe, tmp_path / "out")
    merge(
        "linear", base=models(0), tuned=[models(1)], lambdas=[0.5], dtype="fp8", out=tmp_path / "o"
    )
    assert plan.written == sum(each.nbytes for each in weights(tmp_path / "o").values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output": "adapter"}, "remove --as adapter or --dtype fp8"),
        ({"dtype": "fp4"}, "dtype is 'fp4'"),
    ],
)
def test_what_is_not_written_in_fp8(arguments, message):
    given = {"dtype": "fp8", "lambdas": [0.5]} | arguments
    with pytest.raises(MergeError, match=message):
        build_recipe(method="linear", base="a", tuned=[{"model": "b"}], **given)
    with pytest.raises(MergeError, match="vector is no model to serve in fp8"):
        build_recipe(method="safety-vector", base="a", unaligned="b", dtype="fp8")


def test_models_that_it_is_not_for(tmp_path, models):
    def refused(base, message):
        with pytest.raises(MergeError, match=message):
            merge("linear", base=base, tuned=[base], lambdas=[1], dtype="fp8", out=tmp_path / "o")

    turned = copy_with(models(0), tmp_path / "turned", {})
    edit_json(turned / "config.json", model_type="gpt2")
    refused(turned, r"stores its matrices as \[in, out\]")
    experts = {"model.layers.0.mlp.experts.down_proj": torch.ones(2, 16, 16).bfloat16()}
    refused(copy_with(models(0), tmp_path / "experts", experts), "holds all experts of a layer in")
    bare = {name: None for name in weights(models(0)) if ".layers." in name}
    refused(copy_with(models(0), tmp_path / "bare", bare), "has no matrices in layers")


def test_one_pass_cannot_serve_both(tmp_path, models):
    """Blocks of one are whole rows, and of the other not."""
    recipes = {
        name: build_recipe(
            method="linear", base=str(models(0)), tuned=[{"model": str(models(1))}], lambdas=[0.5],
            dtype=dtype,
        )
        for name, dtype in (("a", None), ("b", "fp8"))
    }  # fmt: skip
    with pytest.raises(MergeError, match="give them the same"):
        merge_recipes(recipes, tmp_path / "out")


def test_a_larger_row_than_a_block(tmp_path):
    """The scale is the whole row's."""
    model = random_model(llama_config(hidden_size=48, num_attention_heads=4), 0).bfloat16()
    model.save_pretrained(tmp_path / "base")
    options = Options(block_elements=7)
    merge(
        "linear", base=tmp_path / "base", tuned=[tmp_path / "base"], lambdas=[1.0], dtype="fp8",
        out=tmp_path / "out", options=options,
    )  # fmt: skip
    found, exact = weights(tmp_path / "out"), weights(tmp_path / "base")
    name = "model.layers.0.mlp.gate_proj.weight"
    scale = exact[name].float().abs().amax(1, keepdim=True) / 448
    torch.testing.assert_close(found[f"{name}_scale"], scale, rtol=1e-6, atol=0)
