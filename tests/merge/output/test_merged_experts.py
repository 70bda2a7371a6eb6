"""Merged adapters of experts' parameters: peft computes with them what the checkpoint does."""

import json

import peft
import pytest
import torch
import transformers
from expert_models import BOTH, FAMILIES, adapted, gpt_oss, mixtral, qwen3_moe, trained
from merge_models import random_model, weights

from merge import MergeError, build_recipe, merge, merge_recipe, verify
from merge.recipe.tensor_settings import Filtered

TOKENS = torch.arange(3, 40)[None]


def logits(folder, adapter=None):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    return model.eval()(TOKENS).logits.detach()


def assert_alike(tmp_path, recipe, **fields):
    """Merge to a checkpoint and to an adapter; both answer alike, and not as the base does."""
    for output in ("checkpoint", "adapter"):
        built = build_recipe(base=str(tmp_path / "base"), output=output, **recipe, **fields)
        merge_recipe(built, tmp_path / output)
    verify(tmp_path / "adapter")
    own = logits(tmp_path / "base", tmp_path / "adapter")
    expected = logits(tmp_path / "checkpoint")
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, logits(tmp_path / "base"), rtol=1e-2, atol=1e-2)


def tuned(tmp_path, *names):
    return [{"model": str(tmp_path / name)} for name in names or ("adapter0",)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scaled_adapter(tmp_path, family):
    make, lora = FAMILIES[family]
    random_model(make(), 0).save_pretrained(tmp_path / "base")
    adapted(tmp_path, "adapter0", **lora)
    assert_alike(tmp_path, {"method": "linear", "tuned": tuned(tmp_path), "lambdas": (0.3,)})
    before, after = (weights(tmp_path / name).keys() for name in ("adapter0", "adapter"))
    assert before == after


@pytest.mark.parametrize("make", [mixtral, gpt_oss])
def test_a_sum_of_adapters(tmp_path, make):
    """Of two ranks, and of one that updates no expert and was trained with dropout."""
    random_model(make(), 0).save_pretrained(tmp_path / "base")
    adapted(tmp_path, "plain", 5, target_modules=["q_proj"], lora_dropout=0.1, r=3)
    adapted(tmp_path, "one", 6, target_parameters=BOTH)
    adapted(tmp_path, "two", 7, target_parameters=BOTH[::-1], r=3, use_rslora=True)
    models = tuned(tmp_path, "plain", "one", "two")
    models[2]["parameters"] = {"weight": -0.5}
    assert_alike(tmp_path, {"method": "task-arithmetic", "tuned": models, "lambdas": (0.7,)})
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["r"] == 5


def test_experts_with_shares_of_their_own(tmp_path):
    """Each expert's tensors are scaled as the recipe says, and the two that are one in memory."""
    random_model(qwen3_moe(), 0).save_pretrained(tmp_path / "base")
    adapted(tmp_path, "adapter0", target_parameters=BOTH)
    weight = [
        Filtered(filter="experts.2.", value=0.0),
        Filtered(filter="up_proj", value=0.4),
        Filtered(value=[1.0, 0.5]),
    ]
    recipe = {"method": "task-arithmetic", "tuned": tuned(tmp_path)}
    assert_alike(tmp_path, recipe, parameters={"weight": weight})


def test_resta(tmp_path):
    random_model(qwen3_moe(), 0).save_pretrained(tmp_path / "base")
    for number in (0, 1):
        adapted(tmp_path, f"adapter{number}", number, target_parameters=BOTH)
    recipe = {"method": "resta", "tuned": tuned(tmp_path), "unaligned": str(tmp_path / "adapter1")}
    assert_alike(tmp_path, recipe, parameters={"gamma": 0.5})


def test_safe_lora(tmp_path):
    """Every expert's matrix is projected or kept by itself."""
    for seed, name in enumerate(("base", "unaligned")):
        random_model(qwen3_moe(), seed).save_pretrained(tmp_path / name)
    adapted(tmp_path, "adapter0", target_parameters=BOTH)
    recipe = {
        "method": "safe-lora",
        "tuned": tuned(tmp_path),
        "unaligned": str(tmp_path / "unaligned"),
    }
    assert_alike(tmp_path, recipe, parameters={"layers": 11})


def test_safe_lora_takes_no_stack_of_matrices(tmp_path):
    trained(gpt_oss(), tmp_path, target_parameters=BOTH)
    random_model(gpt_oss(), 1).save_pretrained(tmp_path / "unaligned")
    with pytest.raises(MergeError, match="updates .*experts.* which holds all experts of a layer"):
        merge(
            "safe-lora",
            base=tmp_path / "base",
            tuned=[tmp_path / "adapter"],
            unaligned=str(tmp_path / "unaligned"),
            out=tmp_path / "out",
        )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"target_parameters": BOTH[1:]}, "one adapter holds one list"),
        ({"target_modules": ["q_proj"], "lora_bias": True}, "has lora_bias .* peft does not read"),
    ],
)
def test_adapters_that_do_not_fit_into_one(tmp_path, other, message):
    random_model(qwen3_moe(attention_bias=True), 0).save_pretrained(tmp_path / "base")
    adapted(tmp_path, "one", target_parameters=BOTH)
    adapted(tmp_path, "two", **other)
    with pytest.raises(MergeError, match=message):
        merge(
            "linear",
            base=tmp_path / "base",
            tuned=[tmp_path / "one", tmp_path / "two"],
            lambdas=[0.5],
            output="adapter",
            out=tmp_path / "out",
        )
