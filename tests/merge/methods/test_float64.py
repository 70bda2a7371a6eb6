"""Tensors that are stored in float64 are computed in it, with values that float32 does not hold."""

import shutil

import pytest
import torch
from merge_models import copy_with, doubles, edit_json, weights
from safetensors.torch import load_file, save_file

from merge import merge, merge_recipes, verify
from merge.recipe.recipe import build_recipe

PARAMETERS = {"dare-linear": {"drop_rate": 0.5}, "ties": {"density": 0.5}}


@pytest.fixture
def wide(tmp_path, models):
    """Return three models of float64 numbers, with zeros of both signs among them."""
    folders = []
    for seed in range(3):
        torch.manual_seed(seed)
        changed = {
            name: value + 1e-9 * torch.randn(value.shape, dtype=torch.float64)
            for name, value in doubles(models(seed)).items()
        }
        changed["model.norm.weight"][:2] = torch.tensor([0.0, -0.0])
        folders.append(copy_with(models(seed), tmp_path / f"wide{seed}", changed))
        assert not all(torch.equal(value, value.float()) for value in changed.values())
    return folders


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == torch.float64
        assert torch.equal(value.view(torch.int64), expected[name].view(torch.int64)), name


@pytest.mark.parametrize("method", ["linear", "slerp", "task-arithmetic", "dare-linear", "ties"])
def test_the_base_is_lambda_zero_to_the_bit(tmp_path, wide, method):
    merge(
        method,
        base=wide[0],
        tuned=[wide[1]],
        lambdas=[0, 0.5],
        parameters=PARAMETERS.get(method, {}),
        out=tmp_path / "out",
    )
    assert_same_bits(weights(tmp_path / "out/lambda-0"), weights(wide[0]))
    verify(tmp_path / "out")


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_the_model_is_lambda_one_to_the_bit(tmp_path, wide, method):
    merge(method, base=wide[0], tuned=[wide[1]], lambdas=[0.5, 1], out=tmp_path / "out")
    assert_same_bits(weights(tmp_path / "out/lambda-1"), weights(wide[1]))
    half = weights(tmp_path / "out/lambda-0.5")
    assert not any(torch.equal(half[name], value) for name, value in weights(wide[1]).items())


def test_the_ends_on_deltas_are_both_models(tmp_path, wide):
    merge(
        "slerp",
        base=wide[0],
        tuned=wide[1:],
        lambdas=[0, 1],
        parameters={"on_deltas": True},
        out=tmp_path / "out",
    )
    for scale in (0, 1):
        assert_same_bits(weights(tmp_path / f"out/lambda-{scale}"), weights(wide[1 + scale]))


def test_a_bin_file_between_types(tmp_path, wide, models):
    """The output has the base's types; one that is asked for is rounded to from float64."""
    (wide[0] / "model.safetensors").unlink()
    base = doubles(wide[2]) | {"lm_head.weight": weights(models(0))["lm_head.weight"]}
    torch.save(base, wide[0] / "pytorch_model.bin")
    half = copy_with(models(1), tmp_path / "half", {})
    for name, more in (("own", {}), ("float32", {"dtype": "float32"})):
        merge("linear", base=wide[0], tuned=[half], lambdas=[0.3], out=tmp_path / name, **more)
    own, narrow, tuned = (weights(each) for each in (tmp_path / "own", tmp_path / "float32", half))
    for name, value in base.items():
        exact = 0.7 * value.double() + 0.3 * tuned[name].double()
        assert own[name].dtype == value.dtype
        if value.dtype == torch.float64:
            torch.testing.assert_close(own[name], exact, rtol=1e-15, atol=1e-15)
            assert torch.equal(narrow[name], own[name].float())


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_on_float64(tmp_path, adapters, wide, dora):
    """Whose own tensors are float64 too, as after training in it."""
    lora = {"target_modules": ["q_proj"], "trainable_token_indices": [3, 9], "use_dora": dora}
    adapter = shutil.copytree(adapters(1, **lora), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="")
    path = adapter / "adapter_model.safetensors"
    own = {name: value.double() * (1 + 1e-9) for name, value in load_file(path).items()}
    save_file(own, path, metadata={"format": "pt"})
    merge("linear", base=wide[0], tuned=[adapter], lambdas=[0.3, 1], out=tmp_path / "out")
    base = weights(wide[0])
    tuned = dict(base)
    for layer in (0, 1):
        module = f"model.layers.{layer}.self_attn.q_proj"
        a, b = (own[f"base_model.model.{module}.lora_{side}.weight"] for side in "AB")
        moved = base[f"{module}.weight"] + 2 * b @ a
        if dora:
            length = own[f"base_model.model.{module}.lora_magnitude_vector"]
            moved = moved * (length / moved.norm(dim=1))[:, None]
        tuned[f"{module}.weight"] = moved
    rows = own["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"]
    tuned["model.embed_tokens.weight"] = base["model.embed_tokens.weight"].clone()
    tuned["model.embed_tokens.weight"][[3, 9]] = rows
    for scale in (0.3, 1):
        for name, value in weights(tmp_path / f"out/lambda-{scale:g}").items():
            exact = (1 - scale) * base[name] + scale * tuned[name]
            torch.testing.assert_close(value, exact, rtol=1e-13, atol=1e-14)


def test_together_as_alone(tmp_path, wide):
    """Recipes that share a pass, one of which writes another type."""
    recipes = {
        name: build_recipe(
            method="linear",
            base=str(wide[0]),
            tuned=[{"model": str(wide[1])}],
            lambdas=(0.3,),
            dtype=dtype,
        )
        for name, dtype in (("own", None), ("half", "bfloat16"))
    }
    merge_recipes(recipes, tmp_path / "both")
    for name, recipe in recipes.items():
        merge_recipes({name: recipe}, tmp_path / "alone" / name)
        one, two = weights(tmp_path / "both" / name), weights(tmp_path / "alone" / name / name)
        assert all(torch.equal(one[tensor], value) for tensor, value in two.items())
