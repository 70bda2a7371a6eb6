"""The same model under other names, written by transformers and peft themselves."""

import json

import peft
import pytest
import torch
import transformers
from merge_models import SMALL, copy_with, doubles, edit_json, weights
from merge_refusals import refused
from safetensors.torch import load_file, save_file

from merge import MergeError, merge, verify

TEXT = {**SMALL, "bos_token_id": 1, "eos_token_id": 2}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def gemma3():
    return transformers.Gemma3ForConditionalGeneration(
        transformers.Gemma3Config(
            text_config={**TEXT, "head_dim": 8}, vision_config=VISION, mm_tokens_per_image=4
        )
    )


def qwen25_vl():
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2,
        "out_hidden_size": 16, "fullatt_block_indexes": [0],
    }  # fmt: skip
    config = transformers.Qwen2_5_VLConfig(text_config=dict(TEXT), vision_config=vision)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def llava():
    vision = {**VISION, "model_type": "clip_vision_model", "projection_dim": 16}
    config = transformers.LlavaConfig(
        text_config={**TEXT, "model_type": "llama"}, vision_config=vision
    )
    return transformers.LlavaForConditionalGeneration(config)


def mistral3():
    vision = {**VISION, "model_type": "pixtral", "head_dim": 8}
    config = transformers.Mistral3Config(
        text_config={**TEXT, "model_type": "mistral", "head_dim": 8}, vision_config=vision
    )
    return transformers.Mistral3ForConditionalGeneration(config)


def mllama():
    vision = {
        **VISION, "num_global_layers": 1, "attention_heads": 2, "vision_output_dim": 32,
        "intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1]],
    }  # fmt: skip
    text = {**TEXT, "cross_attention_layers": [1], "pad_token_id": 0}
    return transformers.MllamaForConditionalGeneration(
        transformers.MllamaConfig(text_config=text, vision_config=vision, image_token_index=61)
    )


def qwen3_moe():
    return transformers.Qwen3MoeForCausalLM(
        transformers.Qwen3MoeConfig(
            **TEXT, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8
        )
    )


def mixtral():
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**TEXT, num_local_experts=3))


SEEING = {
    "gemma3": gemma3,
    "qwen2.5-vl": qwen25_vl,
    "llava": llava,
    "mistral3": mistral3,
    "mllama": mllama,
}
EXPERTS = {"qwen3-moe": qwen3_moe, "mixtral": mixtral}


def made(make, seed, folder, **saving):
    torch.manual_seed(seed)
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    model.save_pretrained(folder, **saving)
    return model


def half(tmp_path, base, tuned, **arguments):
    done = merge(
        "linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out", **arguments
    )
    verify(tmp_path / "out")
    return done.notes


def assert_half(tmp_path, one, two):
    """The output, loaded by transformers, is the mean of two models in memory."""
    model, info = type(one).from_pretrained(
        tmp_path / "out", output_loading_info=True, dtype=torch.float32
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    own, first, second = (each.state_dict() for each in (model, one, two))
    for name, value in own.items():
        exact = (first[name].double() + second[name].double()) / 2
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", [*SEEING, *EXPERTS])
@pytest.mark.parametrize("other", ["base", "tuned"])
def test_the_layout_that_a_model_has_in_memory(tmp_path, family, other):
    make = (SEEING | EXPERTS)[family]
    folders, models = {}, {}
    for seed, role in enumerate(("base", "tuned")):
        folders[role] = tmp_path / role
        models[role] = made(
            make, seed, folders[role], **({"save_original_format": False} if role == other else {})
        )
    assert weights(folders["base"]).keys() != weights(folders["tuned"]).keys()
    notes = half(tmp_path, folders["base"], folders["tuned"])
    assert [note for note in notes if "other names for" in note]
    assert_half(tmp_path, models["base"], models["tuned"])


@pytest.mark.parametrize("family", SEEING)
def test_pefts_adapter_of_a_model_that_sees(tmp_path, family):
    made(SEEING[family], 0, tmp_path / "base")
    model = type(SEEING[family]()).from_pretrained(tmp_path / "base", dtype=torch.float32)
    lora = peft.LoraConfig(
        r=2, target_modules=r".*language_model.*\.(q_proj|v_proj)", alpha_pattern={"v_proj": 3}
    )
    torch.manual_seed(5)
    wrapped = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    wrapped.save_pretrained(tmp_path / "adapter")
    half(tmp_path, tmp_path / "base", tmp_path / "adapter")
    merged = wrapped.double().merge_and_unload()
    base = type(SEEING[family]()).from_pretrained(tmp_path / "base", dtype=torch.float64)
    assert_half(tmp_path, base, merged)
    change = merged.state_dict()
    assert any(not torch.equal(change[name], value) for name, value in base.state_dict().items())


def test_a_convolutions_lora(tmp_path):
    """Factors of a layer that is not linear are merged by peft."""
    made(llava, 0, tmp_path / "base")
    load = transformers.LlavaForConditionalGeneration.from_pretrained
    lora = peft.LoraConfig(r=2, target_modules=["patch_embedding", "v_proj"])
    torch.manual_seed(5)
    wrapped = peft.get_peft_model(load(tmp_path / "base", dtype=torch.float32), lora)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    wrapped.save_pretrained(tmp_path / "adapter")
    notes = half(tmp_path, tmp_path / "base", tmp_path / "adapter")
    assert [note for note in notes if "a layer that is not linear, so peft merges it" in note]
    base = load(tmp_path / "base", dtype=torch.float64)
    assert_half(tmp_path, base, wrapped.double().merge_and_unload())


TEXT_ONLY = {
    "gemma3": (transformers.Gemma3ForCausalLM, "model.language_model"),
    "llava": (transformers.LlamaForCausalLM, "model.language_model"),
    "mllama": (transformers.MllamaForCausalLM, "model.language_model"),
}


def text_model(family, folder, seed=3):
    maker, _ = TEXT_ONLY[family]
    config = SEEING[family]().config.text_config
    torch.manual_seed(seed)
    model = maker(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("family", TEXT_ONLY)
def test_a_text_only_fine_tune_on_request(tmp_path, family):
    base = made(SEEING[family], 0, tmp_path / "base")
    tuned = text_model(family, tmp_path / "tuned")
    with pytest.raises(MergeError, match=r"tuned lacks \d+ tensors, .*--extra base keeps"):
        half(tmp_path, tmp_path / "base", tmp_path / "tuned")
    half(tmp_path, tmp_path / "base", tmp_path / "tuned", extra="base")
    model = type(base).from_pretrained(tmp_path / "out", dtype=torch.float32)
    own, first, second = (each.state_dict() for each in (model, base, tuned))
    seen = 0
    for name, value in own.items():
        text = name.replace("model.language_model.", "model.")
        exact = first[name]
        if text in second and (text != name or name == "lm_head.weight"):
            exact = (first[name] + second[text]) / 2
            seen += 1
        torch.testing.assert_close(value, exact, rtol=1e-5, atol=1e-6)
    assert seen >= len(second)


@pytest.mark.parametrize("family", TEXT_ONLY)
def test_a_text_models_adapter_on_a_model_that_sees(tmp_path, family):
    base = made(SEEING[family], 0, tmp_path / "base")
    model = text_model(family, tmp_path / "text")
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.add_(1.0)
    wrapped.save_pretrained(tmp_path / "adapter")
    edit_json(tmp_path / "adapter/adapter_config.json", base_model_name_or_path="")
    half(tmp_path, tmp_path / "base", tmp_path / "adapter")
    changed = [
        name
        for name, value in type(base).from_pretrained(tmp_path / "out").state_dict().items()
        if not torch.equal(value, base.state_dict()[name])
    ]
    assert len(changed) == 2
    assert all("language_model" in name and "q_proj" in name for name in changed)


WRAPPED = {
    "torch.compile": lambda name: f"_orig_mod.{name}",
    "DistributedDataParallel": lambda name: f"module.{name}",
    "FSDP": lambda name: name.replace("layers.", "layers._fsdp_wrapped_module."),
    "checkpointing": lambda name: name.replace("mlp.", "_checkpoint_wrapped_module.mlp."),
    "peft": lambda name: f"base_model.model.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("side", ["base", "tuned"])
def test_what_trainers_wrap_around_a_model(tmp_path, models, wrapper, side):
    folders = {"base": models(0), "tuned": models(1)}
    copy = copy_with(folders[side], tmp_path / side, {})
    renamed = {WRAPPED[wrapper](name): tensor for name, tensor in weights(copy).items()}
    save_file(renamed, copy / "model.safetensors", metadata={"format": "pt"})
    folders[side] = copy
    half(tmp_path, folders["base"], folders["tuned"])
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "plain")
    one, two = weights(tmp_path / "out"), weights(tmp_path / "plain")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], tensor) for name, tensor in two.items())


@pytest.mark.parametrize("known", [True, False])
def test_a_base_model_without_its_prefix(tmp_path, models, known):
    """As `AutoModel` saves it; of architectures that transformers does not know, by the prefix."""
    base, tuned = (copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1))
    path = tuned / "model.safetensors"
    renamed = {name.removeprefix("model."): tensor for name, tensor in load_file(path).items()}
    save_file(renamed, path, metadata={"format": "pt"})
    for folder in (base, tuned):
        if not known:
            edit_json(folder / "config.json", architectures=["OurOwnModel"])
    half(tmp_path, base, tuned)
    a, b = doubles(models(0)), doubles(models(1))
    found = doubles(tmp_path / "out")
    assert found.keys() == a.keys()
    name = "model.layers.1.mlp.up_proj.weight"
    torch.testing.assert_close(found[name], (a[name] + b[name]) / 2, rtol=0.01, atol=1e-3)


def test_rows_of_a_model_that_sees_whose_configuration_counts_none(tmp_path):
    """Gemma 3's own text_config has no vocab_size; the rows are the embedding's."""
    base, tuned = (made(gemma3, seed, tmp_path / str(seed)) for seed in (0, 1))
    tuned.resize_token_embeddings(66, mean_resizing=False)
    tuned.save_pretrained(tmp_path / "1")
    for seed in (0, 1):
        path = tmp_path / str(seed) / "config.json"
        config = json.loads(path.read_text())
        for part in (config, config["text_config"]):
            part.pop("vocab_size", None)
        path.write_text(json.dumps(config))
    with pytest.raises(MergeError, match="64 rows in .*66 rows in .*--vocabulary grow"):
        half(tmp_path, tmp_path / "0", tmp_path / "1")
    half(tmp_path, tmp_path / "0", tmp_path / "1", vocabulary="grow")
    model = type(base).from_pretrained(tmp_path / "out", dtype=torch.float32)
    own, first, second = (
        each.get_input_embeddings().weight.detach() for each in (model, base, tuned)
    )
    assert model.config.text_config.vocab_size == 66
    torch.testing.assert_close(own[:64], (first + second[:64]) / 2, rtol=1e-5, atol=1e-6)
    assert torch.equal(own[64:], second[64:])


def test_other_names_altogether_are_one_sentence(tmp_path, models):
    tuned = copy_with(models(1), tmp_path / "tuned", {})
    path = tuned / "model.safetensors"
    renamed = {name.replace("layers", "blocks"): value for name, value in load_file(path).items()}
    save_file(renamed, path, metadata={"format": "pt"})
    message = refused(tmp_path, models(0), tuned, "lacks 18 tensors, such as model.layers.0")
    assert message.count("model.blocks") <= 2


def test_routers_are_plain_factors(tmp_path):
    """peft names routers and experts as parameters since transformers 5."""
    made(qwen3_moe, 0, tmp_path / "base")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")

    def adapter(folder, parameters):
        lora = peft.LoraConfig(
            r=2, target_modules=["q_proj"], target_parameters=parameters, lora_dropout=0.0
        )
        wrapped = peft.get_peft_model(model, lora)
        with torch.no_grad():
            for name, parameter in wrapped.named_parameters():
                if "lora_B" in name:
                    parameter.add_(1.0)
        wrapped.save_pretrained(folder)
        return wrapped

    wrapped = adapter(tmp_path / "router", ["mlp.gate.weight"])
    half(tmp_path, tmp_path / "base", tmp_path / "router")
    merged = weights(tmp_path / "out")
    name = "model.layers.0.mlp.gate.weight"
    change = merged[name] - weights(tmp_path / "base")[name]
    expected = wrapped.merge_and_unload().state_dict()[name] - weights(tmp_path / "base")[name]
    torch.testing.assert_close(change, 0.5 * expected, rtol=1e-4, atol=1e-5)
