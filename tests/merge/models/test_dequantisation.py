"""Quantised checkpoints are read as the numbers they stand for, as their own library does it."""

import json
import shutil

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_models import assert_rounded, copy_with, doubles, edit_json, weights
from merge_refusals import refused
from safetensors.torch import save_file

from merge import MergeError, build_recipe, check, merge
from merge.api import merge_recipes
from merge.models.checkpoint import open_checkpoint
from merge.models.dequantisation import dequantise
from merge.output.manifest import read_manifest

NAME = "model.layers.0.self_attn.q_proj.weight"
INT8 = {"num_bits": 8, "type": "int"}
INT4 = {"num_bits": 4, "type": "int"}
FP8 = {"num_bits": 8, "type": "float"}
# Format, how weights are quantised, the scales' type.
FORMATS = {
    "packed by groups": ("pack-quantized", {**INT4, "strategy": "group", "group_size": 4}),
    "packed, asymmetric groups": (
        "pack-quantized",
        {**INT4, "strategy": "group", "group_size": 4, "symmetric": False},
    ),
    "packed rows": ("pack-quantized", {**INT8, "strategy": "channel"}),
    "packed, asymmetric rows": (
        "pack-quantized",
        {**INT4, "strategy": "channel", "symmetric": False},
    ),
    "whole bytes": ("naive-quantized", {**INT8, "strategy": "tensor"}),
    "asymmetric rows": ("int-quantized", {**INT8, "strategy": "channel", "symmetric": False}),
    "rows": ("float-quantized", {**FP8, "strategy": "channel"}),
    "one scale": ("float-quantized", {**FP8, "strategy": "tensor"}),
    "tiles": ("float-quantized", {**FP8, "strategy": "block", "block_structure": [4, 8]}),
}


def tables(shape, weights_of):
    """Return the shape that scales have."""
    rows, columns = shape
    match weights_of["strategy"]:
        case "tensor":
            return (1,)
        case "channel":
            return (rows, 1)
        case "group":
            return (rows, columns // weights_of["group_size"])
        case _:
            height, width = weights_of["block_structure"]
            return (-(-rows // height), -(-columns // width))


def compressed(weight, kind, dtype=torch.float32, seed=0):
    """Return a module's tensors as the library stores them, and as it reads them again."""
    name, own = FORMATS[kind]
    scheme = QuantizationScheme(targets=["Linear"], weights=own)
    compressor = BaseCompressor.get_value_from_registry(name)
    shape = tables(weight.shape, own)
    generator = torch.Generator().manual_seed(seed)
    least = float(weight.abs().max()) / (
        448 if own["type"] == "float" else 2 ** own["num_bits"] / 3
    )
    scale = (least * (1 + torch.rand(shape, generator=generator))).to(dtype)
    state = {"weight": weight.to(dtype), "weight_scale": scale}
    if own.get("symmetric") is False:
        half = 2 ** (own["num_bits"] - 1)
        drawn = torch.randint(-half // 2, half // 2, shape, generator=generator)
        state["weight_zero_point"] = drawn.to(torch.int8)
    stored = compressor.compress(state, scheme)
    if "block_structure" in own:
        # Of tiles that do not fit the library guesses another size.
        (height, width), (rows, columns) = own["block_structure"], weight.shape
        spread = scale[torch.arange(rows) // height][:, torch.arange(columns) // width]
        read = stored["weight"].to(dtype) * spread
    else:
        read = compressor.decompress(stored, scheme)["weight"]
    return {key: value.contiguous() for key, value in stored.items()}, read, scheme


def settings_of(kind, scheme):
    config = QuantizationConfig(
        config_groups={"group_0": scheme},
        format=FORMATS[kind][0],
        quantization_status="compressed",
        ignore=["lm_head"],
    )
    return json.loads(config.model_dump_json()) | {"quant_method": "compressed-tensors"}


def quantised(folder, out, kind, dtype=torch.float32):
    """Copy a model with every projection quantised; return it, and what each stands for."""
    changes, exact = {}, {}
    for number, (name, weight) in enumerate(weights(folder).items()):
        if not name.endswith("_proj.weight"):
            continue
        stored, exact[name], scheme = compressed(weight, kind, dtype, number)
        changes[name] = None
        changes |= {f"{name.removesuffix('weight')}{key}": each for key, each in stored.items()}
    copy_with(folder, out, changes)
    edit_json(out / "config.json", quantization_config=settings_of(kind, scheme))
    return out, exact


@pytest.mark.parametrize("kind", FORMATS)
def test_compressed_tensors(tmp_path, models, kind):
    tuned, exact = quantised(models(1), tmp_path / "tuned", kind)
    arguments = {"base": models(0), "tuned": [tuned], "dequantize": True}
    done = merge("linear", lambdas=[1.0, 0.25], dtype="float32", out=tmp_path / "out", **arguments)
    whole, part = (weights(folder) for folder in done.folders)
    base = doubles(models(0))
    for name, value in (doubles(models(1)) | exact).items():
        assert torch.equal(whole[name].double(), value.double())
        mean = 0.75 * base[name] + 0.25 * value.double()
        torch.testing.assert_close(part[name].double(), mean, rtol=1e-6, atol=1e-7)
    assert len(exact) == 14
    assert not {name for name in whole if "scale" in name or "packed" in name or "zero" in name}
    assert any("is quantised (compressed-tensors" in note for note in done.notes)
    assert "quantization_config" not in json.loads((done.folders[0] / "config.json").read_text())


def test_a_quantised_base_comes_out_in_the_models_type(tmp_path, models):
    """Scales of bfloat16: the library's numbers are ours, rounded."""
    base, exact = quantised(models(0), tmp_path / "base", "packed by groups", torch.bfloat16)
    merge(
        "linear",
        base=base,
        tuned=[models(1)],
        lambdas=[0.0, 0.5],
        dequantize=True,
        out=tmp_path / "o",
    )
    unmerged, half = weights(tmp_path / "o/lambda-0"), weights(tmp_path / "o/lambda-0.5")
    assert {tensor.dtype for tensor in half.values()} == {torch.bfloat16}
    for name, value in exact.items():
        assert torch.equal(unmerged[name], value)
    for name, tensor in half.items():
        if name not in exact:
            assert_rounded(tensor, (doubles(models(0))[name] + doubles(models(1))[name]) / 2)
    manifest = read_manifest(tmp_path / "o/lambda-0.5")
    assert all(each["checksum"] for each in manifest["inputs"])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(list(FORMATS)),
    rows=st.integers(1, 9),
    runs=st.integers(1, 6),
    odd=st.integers(0, 3),
    data=st.data(),
)
def test_any_part_of_any_shape(tmp_path_factory, kind, rows, runs, odd, data):
    """Parts that begin and end inside rows, tiles and words."""
    columns = 4 * runs + (0 if "groups" in kind else odd)
    generator = torch.Generator().manual_seed(rows * 100 + columns)
    weight = torch.randn(rows, columns, generator=generator)
    stored, exact, scheme = compressed(weight, kind, seed=rows)
    folder = tmp_path_factory.mktemp("one")
    config = {"model_type": "llama", "quantization_config": settings_of(kind, scheme)}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({f"m.{name}": each for name, each in stored.items()}, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    dequantise(checkpoint)
    [(name, tensor)] = checkpoint.tensors.items()
    assert (name, tensor.shape) == ("m.weight", (rows, columns))
    start = data.draw(st.integers(0, weight.numel()))
    stop = data.draw(st.integers(start, weight.numel()))
    values, raw = tensor.read(start, stop)
    assert torch.equal(values, exact.reshape(-1)[start:stop])
    assert bytes(raw) == bytes(tensor.read_bytes(start, stop)) == values.numpy().tobytes()
    checkpoint.close()


def by_tiles(models, folder, tile, dtype=torch.float32):
    """Copy a model as DeepSeek-V3 and Qwen3's fp8 store theirs; return it, and the numbers."""
    changes, exact = {}, {}
    for name, weight in weights(models).items():
        if not name.endswith("_proj.weight"):
            continue
        rows, columns = weight.shape
        places = [[(i // tile[0], j // tile[1]) for j in range(columns)] for i in range(rows)]
        scales = torch.rand(-(-rows // tile[0]), -(-columns // tile[1])).add(0.5).to(dtype) / 448
        codes = (torch.randn(rows, columns) * 100).to(torch.float8_e4m3fn)
        spread = torch.tensor([[float(scales[place]) for place in row] for row in places])
        changes |= {name: codes, f"{name}_scale_inv": scales}
        changes[f"{name.removesuffix('weight')}input_scale"] = torch.ones(())
        exact[name] = codes.double() * spread.double()
    copy_with(models, folder, changes)
    edit_json(
        folder / "config.json",
        quantization_config={
            "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": list(tile),
            "activation_scheme": "dynamic",
        },
    )  # fmt: skip
    return folder, exact


@pytest.mark.parametrize("tile", [(8, 8), (5, 7), (128, 128)])
def test_eight_bit_floats_by_tiles(tmp_path, models, tile):
    torch.manual_seed(0)
    tuned, exact = by_tiles(models(1), tmp_path / "tuned", tile)
    arguments = {"base": models(0), "tuned": [tuned], "dequantize": True, "dtype": "float32"}
    merge("linear", lambdas=[1.0], out=tmp_path / "out", **arguments)
    merged = weights(tmp_path / "out")
    for name, value in exact.items():
        torch.testing.assert_close(merged[name].double(), value, rtol=2e-7, atol=0)
    assert "model.layers.0.self_attn.q_proj.input_scale" not in merged


def test_an_adapter_on_a_quantised_base(tmp_path, models, adapters):
    base, exact = quantised(models(0), tmp_path / "base", "rows")
    # As QLoRA's does, it names the model that it was trained on.
    adapter = shutil.copytree(adapters(1), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="hub/base-8bit")
    arguments = {"tuned": [adapter], "lambdas": [0.5], "dtype": "float32"}
    with pytest.raises(MergeError, match=r"is quantised .* or --dequantize"):
        merge("linear", base=base, out=tmp_path / "no", **arguments)
    packed, _ = quantised(models(0), tmp_path / "packed", "packed rows")
    with pytest.raises(MergeError, match=r"is quantised .* or --dequantize"):
        merge("linear", base=packed, out=tmp_path / "no", **arguments)
    merge("linear", base=base, dequantize=True, out=tmp_path / "out", **arguments)
    merge("linear", base=models(0), out=tmp_path / "plain", **arguments)
    base_before = doubles(models(0))
    merged, plain = doubles(tmp_path / "out"), doubles(tmp_path / "plain")
    for name, value in exact.items():
        update = plain[name] - base_before[name]
        torch.testing.assert_close(merged[name], value.double() + update, rtol=1e-5, atol=1e-6)


def test_an_adapter_that_peft_has_to_merge(tmp_path, models, adapters):
    base, _ = quantised(models(0), tmp_path / "base", "rows")
    adapter = shutil.copytree(adapters(1), tmp_path / "ia3")
    config = {"peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": []}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(MergeError, match="peft has to merge it whole, .*; give the unquantised"):
        merge(
            "linear", base=base, tuned=[adapter], lambdas=[1], dequantize=True, out=tmp_path / "o"
        )


def test_only_on_request(tmp_path, models):
    tuned, _ = quantised(models(1), tmp_path / "tuned", "packed by groups")
    message = refused(tmp_path, models(0), tuned, "give the unquantised model, or --dequantize")
    assert message.count(". ") == 0
    plain = build_recipe(
        method="linear", base=str(models(0)), tuned=[{"model": str(tuned)}], lambdas=[1]
    )
    check(plain.model_copy(update={"dequantize": True}), tmp_path / "out")
    both = {"a": plain, "b": plain.model_copy(update={"dequantize": True})}
    with pytest.raises(MergeError, match="tuned is quantised .*needs --dequantize"):
        merge_recipes(both, tmp_path / "out")


def in_order(config, changes):
    changes[NAME.replace("weight", "weight_g_idx")] = torch.zeros(16, dtype=torch.int32)


def other_groups(config, changes):
    group = json.loads(json.dumps(config["config_groups"]["group_0"]))
    group["weights"]["group_size"] = 8
    config["config_groups"]["group_1"] = group


def nvidias(config, changes):
    config["format"] = "nvfp4-pack-quantized"


def turned(config, changes):
    config["transform_config"] = {"config_groups": {"u": {"type": "hadamard"}}}


def two_bits(config, changes):
    config["config_groups"]["group_0"]["weights"]["num_bits"] = 2


def no_settings(config, changes):
    config.clear()


def other_size(config, changes):
    config["config_groups"]["group_0"]["weights"]["group_size"] = 8


@pytest.mark.parametrize(
    "spoil", [in_order, other_groups, nvidias, turned, two_bits, no_settings, other_size]
)
def test_what_cannot_be_read_exactly(tmp_path, models, spoil):
    tuned, _ = quantised(models(1), tmp_path / "tuned", "packed by groups")
    config = json.loads((tuned / "config.json").read_text())
    changes = {}
    spoil(config["quantization_config"], changes)
    spoiled = copy_with(tuned, tmp_path / "spoiled", changes)
    (spoiled / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        MergeError, match=r"is quantised .*; give the unquantised model\."
    ) as caught:
        merge(
            "linear", base=models(0), tuned=[spoiled], lambdas=[0.5], dequantize=True,
            out=tmp_path / "out",
        )  # fmt: skip
    assert "--dequantize" not in str(caught.value)


def test_weights_that_are_none(tmp_path, models):
    """The option does no harm to a model that is not quantised."""
    for name, dequantize in (("one", True), ("two", False)):
        merge(
            "linear", base=models(0), tuned=[models(1)], lambdas=[0.5], dequantize=dequantize,
            out=tmp_path / name,
        )  # fmt: skip
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one)
