"""Adapter files as peft and trainers write them: read whole, or refused by name."""

import json
import shutil

import pytest
import torch
import xxhash
from merge_models import (
    assert_rounded,
    copy_with,
    doubles,
    edit_json,
    llama_config,
    peft_merged,
    weights,
)
from safetensors.torch import load_file, save_file

from merge import MergeError, merge

FILE = "adapter_model.safetensors"
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
BOTH = {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]}


@pytest.fixture
def edited(tmp_path):
    """Return a function that copies an adapter with its tensors changed by a function."""

    def edit(adapter, change):
        copy = shutil.copytree(adapter, tmp_path / "adapter")
        save_file(change(load_file(copy / FILE)), copy / FILE, metadata={"format": "pt"})
        return copy

    return edit


def merged(tmp_path, base, adapter, **arguments):
    done = merge(
        "linear", base=base, tuned=[adapter], lambdas=[1], out=tmp_path / "out", **arguments
    )
    return done, weights(tmp_path / "out")


def refuse(tmp_path, base, adapter, match):
    with pytest.raises(MergeError, match=match) as caught:
        merged(tmp_path, base, adapter)
    assert not (tmp_path / "out").exists()
    return str(caught.value)


def three_keys(tensors, copies=torch.float32, original=torch.float16):
    """What `save_embedding_layers=True` leaves of a trained copy: the wrapped module too."""
    changed = dict(tensors)
    for name in (HEAD, EMBEDDING):
        module = f"base_model.model.{name.removesuffix('.weight')}"
        trained = tensors[f"{module}.weight"]
        changed[f"{module}.weight"] = trained.to(copies)
        changed[f"{module}.modules_to_save.default.weight"] = trained.to(copies)
        changed[f"{module}.original_module.weight"] = torch.zeros_like(trained).to(original)
    return changed


@pytest.mark.parametrize("types", [(torch.float32, torch.float16), (torch.float32, torch.float32)])
def test_the_wrapped_module_never_takes_the_trained_ones_place(
    tmp_path, models, adapters, edited, types
):
    adapter = adapters(1, **BOTH)
    copy = edited(adapter, lambda tensors: three_keys(tensors, *types))
    _, found = merged(tmp_path, models(0), copy)
    expected = peft_merged(models(0), adapter)
    for name in (HEAD, EMBEDDING):
        assert_rounded(found[name], expected[name].double())


def test_a_trained_copy_beside_the_wrapped_module_alone(tmp_path, models, adapters, edited):
    def change(tensors):
        changed = three_keys(tensors)
        return {key: value for key, value in changed.items() if not key.endswith(f".{HEAD}")}

    adapter = adapters(1, **BOTH)
    _, found = merged(tmp_path, models(0), edited(adapter, change))
    assert_rounded(found[HEAD], peft_merged(models(0), adapter)[HEAD].double())


def test_two_tensors_for_one_target_that_differ(tmp_path, models, adapters, edited):
    def change(tensors):
        changed = three_keys(tensors)
        changed["base_model.model.lm_head.weight"] += 1
        return changed

    message = refuse(tmp_path, models(0), edited(adapters(1, **BOTH), change), "and differ")
    assert "lm_head.modules_to_save.default.weight" in message


def test_two_factors_for_one_target_that_differ(tmp_path, models, adapters, edited):
    def change(tensors):
        name = next(name for name in tensors if name.endswith("lora_B.weight"))
        raw = name.replace("lora_B.weight", "lora_B.default.weight")
        return tensors | {raw: tensors[name] + 1}

    refuse(tmp_path, models(0), edited(adapters(1), change), "and differ")


def test_two_adapters_in_one_file(tmp_path, models, adapters, edited):
    def change(tensors):
        return {
            key.replace(".weight", f".{'one' if 'q_proj' in key else 'two'}.weight"): value
            for key, value in tensors.items()
        }

    adapter = edited(adapters(1, target_modules=["q_proj", "v_proj"]), change)
    refuse(tmp_path, models(0), adapter, r"several adapters \(one, two\)")


def no_tensors(tensors):
    return {}


def zero_b(tensors):
    return {key: value * ("lora_B" not in key) for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"), [(no_tensors, "holds no trained"), (zero_b, "every B in it is zero")]
)
def test_an_adapter_that_changes_nothing(tmp_path, models, adapters, edited, change, message):
    refuse(tmp_path, models(0), edited(adapters(1), change), message)


def test_zero_factors_beside_a_copy_that_equals_the_base(tmp_path, models, adapters, edited):
    def change(tensors):
        head = weights(models(0))[HEAD]
        return zero_b(tensors) | {f"base_model.model.{HEAD}": head}

    adapter = adapters(1, target_modules=["q_proj"], modules_to_save=["lm_head"])
    refuse(tmp_path, models(0), edited(adapter, change), "every B in it is zero")


LACKING = {
    "a target module": ({"target_modules": ["q_proj", "v_proj"]}, "v_proj", "v_proj"),
    "one layer of it": ({"target_modules": ["q_proj"]}, "layers.1.", "nothing for model.layers.1"),
    "a regular expression": ({"target_modules": r".*\.(up|down)_proj"}, "layers.0.mlp.up", "up_p"),
    "a saved module": (BOTH, "lm_head", "modules_to_save names lm_head"),
    "tokens": (
        {"target_modules": ["q_proj"], "trainable_token_indices": [3]},
        "embed_tokens",
        "trainable_token_indices",
    ),
    "biases": ({"target_modules": ["q_proj"], "lora_bias": True}, "lora_B.bias", "lora_bias"),
    "magnitudes": ({"use_dora": True}, "lora_magnitude", "magnitudes"),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_the_configuration_promises_is_there(tmp_path, models, adapters, edited, what):
    lora, gone, message = LACKING[what]
    base = models(0, attention_bias=True)

    def change(tensors):
        kept = {key: value for key, value in tensors.items() if gone not in key}
        assert len(kept) < len(tensors)
        return kept

    refuse(tmp_path, base, edited(adapters(1, base=base, **lora), change), message)


def test_modules_that_the_base_lacks_need_no_tensors(tmp_path, models, adapters):
    """peft itself lists classifier and score for every sequence classifier."""
    adapter = shutil.copytree(adapters(1), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", modules_to_save=["classifier", "score"])
    merged(tmp_path, models(0), adapter)


def raw_keys(tensors):
    """What a trainer gathers from its shards by itself."""
    return {
        f"module.{key}".replace("model.layers", "_orig_mod.model.layers")
        .replace("self_attn", "_fsdp_wrapped_module.self_attn")
        .replace(".weight", ".default.weight"): value
        for key, value in tensors.items()
    }


def bin_file(tensors):
    return tensors


@pytest.mark.parametrize("variant", ["raw keys", "bin", "config beside"])
def test_files_as_trainers_leave_them(tmp_path, models, adapters, edited, variant):
    adapter = adapters(1)
    copy = edited(adapter, raw_keys if variant == "raw keys" else dict)
    if variant == "bin":
        torch.save(load_file(copy / FILE), copy / "adapter_model.bin")
        (copy / FILE).unlink()
    if variant == "config beside":
        shutil.copy(models(0) / "config.json", copy)
    _, found = merged(tmp_path, models(0), copy)
    expected = peft_merged(models(0), adapter)
    for name, tensor in found.items():
        assert_rounded(tensor, expected[name].double())


def test_a_merged_adapter_has_pefts_own_keys(tmp_path, models, adapters, edited):
    base = models(0, attention_bias=True)
    adapter = adapters(1, target_modules=["q_proj"], lora_bias=True, base=base)
    for output, given in (("one", adapter), ("two", edited(adapter, raw_keys))):
        merge(
            "linear", base=base, tuned=[given], lambdas=[0.5], output="adapter",
            out=tmp_path / output,
        )  # fmt: skip
    one, two = (load_file(tmp_path / output / FILE) for output in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_an_adapter_beside_a_whole_model(tmp_path, models, adapters):
    folder = shutil.copytree(models(1), tmp_path / "both")
    for name in (FILE, "adapter_config.json"):
        shutil.copy(adapters(1) / name, folder)
    refuse(tmp_path, models(0), folder, "holds an adapter .* and a whole model")


def test_dora_has_no_merged_adapter(tmp_path, models, adapters):
    with pytest.raises(MergeError, match="is DoRA, whose update is not of low rank"):
        merge(
            "linear", base=models(0), tuned=[adapters(1, use_dora=True)], lambdas=[0.5],
            output="adapter", out=tmp_path / "out",
        )  # fmt: skip


def test_safe_lora_takes_no_dora(tmp_path, models, adapters):
    with pytest.raises(MergeError, match="is DoRA"):
        merge(
            "safe-lora", base=models(0), tuned=[adapters(1, use_dora=True)],
            unaligned=str(models(2)), out=tmp_path / "out",
        )  # fmt: skip


def named(adapter, folder, base):
    copy = shutil.copytree(adapter, folder)
    edit_json(copy / "adapter_config.json", base_model_name_or_path=str(base))
    return copy


def test_a_base_that_is_provably_another(tmp_path, models, adapters):
    """As with PiSSA's residual model, which the configuration names."""
    adapter = named(adapters(1), tmp_path / "adapter", models(2))
    refuse(tmp_path, models(0), adapter, rf"was trained on {models(2)} .* give {models(2)} as")
    _, found = merged(tmp_path, models(0), f"{models(2)}+{adapter}")
    assert_rounded(found[EMBEDDING], doubles(models(2))[EMBEDDING])


def test_a_base_of_the_same_values_is_the_base(tmp_path, models, adapters):
    copy = shutil.copytree(models(0), tmp_path / "copy")
    done, _ = merged(tmp_path, models(0), named(adapters(1), tmp_path / "adapter", copy))
    assert not done.notes
    wide = models(0, dtype="float32")
    again = merge(
        "linear", base=models(0), tuned=[named(adapters(1), tmp_path / "other", wide)],
        lambdas=[1], out=tmp_path / "again",
    )  # fmt: skip
    assert not again.notes


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        ("mistralai/Mistral-7B-v0.1", True),
        ("someone/residual", True),
        ("unsloth/NAME-unsloth-bnb-4bit", False),
        ("unsloth/NAME-bnb-4bit", False),
        ("TheBloke/NAME-GPTQ", False),
        ("lab/NAME", False),
        ("/cluster/NAME", False),
        ("", False),
    ],
)
def test_a_base_of_another_name_is_noted(tmp_path, models, adapters, name, noted):
    base = models(0)
    adapter = named(adapters(1), tmp_path / "adapter", name.replace("NAME", base.name))
    done, _ = merged(tmp_path, base, adapter)
    assert noted == any(f"was trained on {name}" in note for note in done.notes)


def test_an_unconverted_residual_names_its_base(tmp_path, models, adapters):
    adapter = named(adapters(1), tmp_path / "adapter", "lab/original")
    edit_json(adapter / "adapter_config.json", init_lora_weights="pissa")
    assert "what is left of lab/original" in refuse(tmp_path, models(0), adapter, "pissa")


def test_a_configuration_is_not_a_promise_of_other_models(tmp_path, adapters, models):
    """A language model's adapter has nothing for another part whose modules have the same names."""
    from merge.lora.adapter import open_adapter
    from merge.models.adapter_fit import check_against
    from merge.models.checkpoint import open_checkpoint

    adapter, base = open_adapter(adapters(1)), open_checkpoint(models(0))
    for name, tensor in list(base.tensors.items()):
        base.tensors[name.replace("model.layers", "vision_tower.layers")] = tensor
    assert check_against(adapter, base, ()) == []
    assert (
        llama_config().num_hidden_layers
        == json.loads((models(0) / "config.json").read_text())["num_hidden_layers"]
    )
    adapter.close()
    base.close()


def sampled(folder, base, tensors):
    """Say in a folder, as our own fine-tuning does, what it was trained on."""
    samples = {}
    for name in tensors:
        value = weights(base)[name]
        begins = xxhash.xxh3_128_hexdigest(bytes(value.flatten().view(torch.uint8).numpy())[:65536])
        samples[name] = {"dtype": "BF16", "shape": list(value.shape), "begins": begins}
    (folder / "safemerge_finetune.json").write_text(json.dumps({"base": {"samples": samples}}))
    return folder


NAME = "model.layers.1.mlp.up_proj.weight"


def test_our_own_adapter_knows_its_base(tmp_path, models, adapters):
    """Whatever its folder is called; and another is refused though the adapter would fit it."""
    adapter = shutil.copytree(adapters(1), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="some/where")
    sampled(adapter, models(0), [NAME])
    done = merge("linear", base=models(0), tuned=[adapter], lambdas=[1], out=tmp_path / "out")
    assert not [note for note in done.notes if "some/where" in note]
    with pytest.raises(MergeError, match=r"trained on another model .* as .*up_proj.* shows"):
        merge("linear", base=models(2), tuned=[adapter], lambdas=[1], out=tmp_path / "no")


def test_samples_of_another_type_prove_nothing(tmp_path, models, adapters):
    adapter = sampled(shutil.copytree(adapters(1), tmp_path / "adapter"), models(0), [NAME])
    base = models(0, dtype="float32")
    merge("linear", base=base, tuned=[adapter], lambdas=[1], out=tmp_path / "out")


def test_our_own_full_model_from_another_base_is_noted(tmp_path, models):
    tuned = sampled(copy_with(models(1), tmp_path / "tuned", {}), models(0), [NAME])
    for base, noted in ((models(0), False), (models(2), True)):
        done = merge("linear", base=base, tuned=[tuned], lambdas=[1], out=tmp_path / f"{noted}")
        assert bool([n for n in done.notes if "fine-tuned from another model" in n]) == noted


ODD = {
    "rank_pattern": ([4], "rank_pattern is .4., which peft does not write"),
    "use_rslora": ("false", "use_rslora is 'false', which peft does not write"),
    "modules_to_save": ("lm_head", "modules_to_save is 'lm_head', which"),
    "alpha_pattern": ({"*q_proj": 4}, "'.q_proj' is no regular expression"),
    "target_modules": ("*.q_proj", "'..q_proj' is no regular expression"),
    "lora_alpha": (0, "lora_alpha is 0, so the adapter would change nothing"),
    "fine_tune_type": ("lora", "is MLX's; fuse the adapter with mlx_lm.fuse"),
}


@pytest.mark.parametrize("key", ODD)
def test_fields_that_peft_does_not_write(tmp_path, models, adapters, key):
    value, message = ODD[key]
    adapter = shutil.copytree(adapters(1), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", **{key: value})
    refuse(tmp_path, models(0), adapter, message)


@pytest.mark.parametrize("dtype", ["float8_e5m2", "int8", "complex64"])
def test_factors_that_are_no_weights(tmp_path, models, adapters, edited, dtype):
    kind = getattr(torch, dtype)
    adapter = edited(adapters(1), lambda own: {key: each.to(kind) for key, each in own.items()})
    refuse(tmp_path, models(0), adapter, "which is no type of weights here")


@pytest.mark.parametrize("indices", [[], [-1], [64]])
def test_rows_of_tokens_that_are_not_there(tmp_path, models, adapters, indices):
    lora = {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [3]}}
    adapter = shutil.copytree(adapters(1, **lora), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", trainable_token_indices={"embed_tokens": indices})
    refuse(tmp_path, models(0), adapter, "which does not fit")


def test_an_adapter_in_gguf(tmp_path, models, adapters):
    adapter = shutil.copytree(adapters(1), tmp_path / "adapter")
    (adapter / FILE).rename(adapter / "adapter.gguf")
    refuse(tmp_path, models(0), adapter, "adapter.gguf is GGUF; give the adapter")
