"""Configurations that give the same weights another meaning."""

import json

import pytest
import transformers
from merge_models import copy_with, edit_json, random_model
from merge_refusals import refused

from merge import merge
from merge.models.configurations import rope_settings

OTHER_FUNCTION = {
    "heads": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8},
    "norm": {"rms_norm_eps": 0.01},
    "activation": {"hidden_act": "gelu"},
    "kind": {"model_type": "mistral", "architectures": ["MistralForCausalLM"]},
}


@pytest.mark.parametrize("what", OTHER_FUNCTION)
def test_another_function_is_refused(tmp_path, models, what):
    tuned = copy_with(models(1), tmp_path / "tuned", {})
    edit_json(tuned / "config.json", **OTHER_FUNCTION[what])
    key = next(iter(OTHER_FUNCTION[what]))
    refused(tmp_path, models(0), tuned, rf"{key} is .* so the same weights compute different")


def test_another_function_of_another_family(tmp_path):
    """GPT-NeoX has other names for the same things."""
    config = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 64,
    }  # fmt: skip
    for seed, changes in enumerate([{}, {"use_parallel_residual": False}]):
        model = random_model(transformers.GPTNeoXConfig(**config, **changes), seed)
        model.save_pretrained(tmp_path / str(seed))
    refused(tmp_path, tmp_path / "0", tmp_path / "1", "use_parallel_residual is True")


def test_a_part_of_the_model_counts_too(tmp_path, models):
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]
    for folder, heads in zip(folders, (2, 4), strict=True):
        edit_json(folder / "config.json", vision_config={"num_attention_heads": heads})
    refused(tmp_path, *folders, "vision_config.num_attention_heads is 2")


ABSENT = {
    # What a configuration leaves out, or gives as null, is its class's.
    "the same": (transformers.Gemma2Config, {"final_logit_softcapping": 30.0}, {}, None),
    "another": (
        transformers.Gemma2Config, {"final_logit_softcapping": 50.0}, {},
        "final_logit_softcapping is 50.0 in .* and 30.0 in .* compute different",
    ),
    "of sizes": (transformers.LlamaConfig, {"head_dim": 4}, {"head_dim": None}, None),
    "of other sizes": (
        transformers.MistralConfig, {"head_dim": None}, {"head_dim": 8},
        "head_dim is 4 in .* and 8 in .* compute different",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ABSENT)
def test_what_a_configuration_does_not_say(tmp_path, what):
    kind, one, two, sentence = ABSENT[what]
    config = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 4,
    }  # fmt: skip
    folders = [tmp_path / name for name in ("base", "tuned")]
    for seed, (folder, given) in enumerate(zip(folders, (one, two), strict=True)):
        random_model(kind(**config), seed).save_pretrained(folder)
        file = folder / "config.json"
        kept = json.loads(file.read_text())
        for key in one:
            del kept[key]
        file.write_text(json.dumps(kept | given))
    if sentence:
        refused(tmp_path, *folders, sentence)
        refused(tmp_path, *reversed(folders), " compute different")
    else:
        done = merge(
            "linear", base=folders[0], tuned=folders[1:], lambdas=[0.5], out=tmp_path / "out"
        )
        assert done.notes == ()


def test_what_nobody_knows_is_noted(tmp_path, models):
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]
    for folder in folders:
        edit_json(folder / "config.json", model_type="bakery")
    edit_json(folders[0] / "config.json", logit_scale=0.5)
    done = merge("linear", base=folders[0], tuned=folders[1:], lambdas=[0.5], out=tmp_path / "out")
    assert [note for note in done.notes if "logit_scale is 0.5 in" in note and "not given" in note]


NOTED = {
    "rope_theta": {"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}},
    "rope_type": {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}},
    "max_position_embeddings": {"max_position_embeddings": 128},
    "sliding_window": {"sliding_window": 32},
}


@pytest.mark.parametrize("what", NOTED)
def test_another_range_is_noted(tmp_path, models, what):
    base, tuned = (copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1))
    edit_json(base / "config.json", sliding_window=16)
    edit_json(tuned / "config.json", **({"sliding_window": 16} | NOTED[what]))
    done = merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    assert [note for note in done.notes if note.startswith(f"{what} is ")]


def test_what_training_and_saving_write_is_no_difference(tmp_path, models):
    tuned = copy_with(models(1), tmp_path / "tuned", {})
    edit_json(
        tuned / "config.json", transformers_version="4.40.0", use_cache=False,
        _name_or_path="elsewhere", unsloth_version="2025.1", attention_dropout=0.1,
    )  # fmt: skip
    done = merge("linear", base=models(0), tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    assert done.notes == ()


def test_rotary_settings_before_and_after_transformers_5():
    old = {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    new = {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}}
    assert rope_settings(old) == rope_settings(new)
    assert rope_settings({"rope_theta": 1.0, "rope_scaling": None})["rope_type"] == "default"
    assert rope_settings({}) == {}


SPELLED = {
    "num_kv_heads": (2, 4),
    "encoder_attention_heads": (4, 2),
    "layernorm_epsilon": (1e-5, 1e-6),
    "dense_act_fn": ("relu", "gelu"),
    "embedding_multiplier": (1.0, 2.0),
    "qk_layernorm": (False, True),
    "do_layer_norm_before": (True, False),
    "time_step_limit": ([0.0, 1.0], [0.0, 2.0]),
}


@pytest.mark.parametrize("part", [(), ("llm_config",), ("thinker_config", "text_config")])
@pytest.mark.parametrize("key", SPELLED)
def test_a_function_however_it_is_spelled_and_nested(tmp_path, models, key, part):
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]
    for folder, value in zip(folders, SPELLED[key], strict=True):
        changes = {key: value}
        for name in reversed(part):
            changes = {name: changes}
        edit_json(folder / "config.json", **changes)
    refused(tmp_path, *folders, rf"{'.'.join((*part, key))} is .* different things")


EQUAL = {
    "rms_norm_eps": (1e-6, 9.999999974752427e-07),
    "hidden_act": ("silu", "swish"),
    "llm_config": ({"torch_dtype": "float16", "use_cache": True}, {"torch_dtype": "bfloat16"}),
}


@pytest.mark.parametrize("key", EQUAL)
def test_the_same_by_another_name_or_rounded(tmp_path, models, key):
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]
    for folder, value in zip(folders, EQUAL[key], strict=True):
        edit_json(folder / "config.json", **{key: value})
    done = merge("linear", base=folders[0], tuned=[folders[1]], lambdas=[0.5], out=tmp_path / "out")
    assert done.notes == ()


@pytest.mark.parametrize("flat", [0, 1])
@pytest.mark.parametrize("heads", [4, 2])
def test_a_language_part_that_was_not_apart_once(tmp_path, models, flat, heads):
    """Qwen2-VL's configuration before transformers 4.52, and since."""
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1)]
    for number, folder in enumerate(folders):
        own = json.loads((folder / "config.json").read_text())
        if number == 1:
            own["num_attention_heads"] = heads
        whole = {"architectures": own.pop("architectures"), "vision_config": {"depth": 1}}
        if number == flat:
            whole |= {**own, "model_type": "seeing"}
        else:
            whole |= {"model_type": "seeing", "text_config": {**own, "model_type": "seeing_text"}}
        (folder / "config.json").write_text(json.dumps(whole))
    if heads == 2:
        refused(tmp_path, *folders, "text_config.num_attention_heads is 4 .* and 2 in")
        return
    merge("linear", base=folders[0], tuned=[folders[1]], lambdas=[0.5], out=tmp_path / "out")
