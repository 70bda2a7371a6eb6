"""Tensors that one input has and another lacks: copied, left out, or refused with the option."""

import pytest
import torch
import transformers
from merge_models import assert_rounded, copy_with, doubles, edit_json, random_model, weights

from merge import MergeError, merge, verify

HALF = torch.bfloat16
LAYER = "model.layers.0.self_attn"
SPARE = {
    "rotary table": (f"{LAYER}.rotary_emb.inv_freq", torch.arange(2.0)),
    "positions": ("bert.embeddings.position_ids", torch.arange(8)[None]),
    "causal mask": ("gpt_neox.layers.0.attention.bias", torch.ones(1, 1, 4, 4, dtype=torch.uint8)),
    "masked bias": ("gpt_neox.layers.0.attention.masked_bias", torch.tensor(-1e9)),
    "GPT-2's mask": ("transformer.h.0.attn.bias", torch.ones(1, 1, 4, 4)),
    "multi-token prediction": ("mtp.fc.weight", torch.ones(4, 4, dtype=HALF)),
    "layers beyond": ("model.layers.2.eh_proj.weight", torch.ones(4, 4, dtype=HALF)),
    "pooler": ("bert.pooler.dense.weight", torch.ones(4, 4, dtype=HALF)),
    "value head": ("v_head.summary.weight", torch.ones(1, 16, dtype=HALF)),
    "cache scale": (f"{LAYER}.k_scale", torch.tensor(0.5)),
}


def merged(tmp_path, base, tuned, method="linear", **arguments):
    lambdas = [0.5] if method == "linear" else []
    done = merge(
        method, base=base, tuned=[tuned], lambdas=lambdas, out=tmp_path / "out", **arguments
    )
    verify(tmp_path / "out")
    return done.notes, weights(tmp_path / "out")


@pytest.mark.parametrize("what", SPARE)
def test_what_only_the_base_has_is_copied(tmp_path, models, what):
    name, value = SPARE[what]
    base = copy_with(models(0), tmp_path / "base", {name: value})
    notes, found = merged(tmp_path, base, models(1))
    assert torch.equal(found.pop(name), value)
    assert [note for note in notes if name in note and "was copied from it" in note]
    a, b = doubles(models(0)), doubles(models(1))
    assert found.keys() == a.keys()
    for tensor, own in found.items():
        assert_rounded(own, 0.5 * (a[tensor] + b[tensor]))


@pytest.mark.parametrize("what", SPARE)
def test_what_only_the_tuned_model_has_is_left_out(tmp_path, models, what):
    name, value = SPARE[what]
    tuned = copy_with(models(1), tmp_path / "tuned", {name: value})
    notes, found = merged(tmp_path, models(0), tuned)
    assert name not in found
    assert [note for note in notes if name in note and "was left out" in note]


def test_many_of_a_kind_are_one_note(tmp_path, models):
    tables = {
        f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.arange(2.0)
        for layer in range(5)
    }
    base = copy_with(models(0), tmp_path / "base", tables)
    notes, _ = merged(tmp_path, base, models(1))
    assert len(notes) == 1
    assert notes[0].startswith("5 tensors, such as model.layers.0")


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_anything_else_is_refused_with_the_option(tmp_path, models, side):
    extra = {"adapter_gate.weight": torch.ones(3, 3, dtype=HALF)}
    folders = {"base": models(0), "tuned": models(1)}
    folders[side] = copy_with(folders[side], tmp_path / side, extra)
    with pytest.raises(MergeError, match=r"lacks adapter_gate.weight that .* has; --extra base"):
        merged(tmp_path, *folders.values())
    _, found = merged(tmp_path, *folders.values(), extra="base")
    assert ("adapter_gate.weight" in found) == (side == "base")


def test_a_bias_is_no_mask(tmp_path, models):
    tuned = copy_with(models(1), tmp_path / "tuned", {f"{LAYER}.bias": torch.ones(16, dtype=HALF)})
    with pytest.raises(MergeError, match="lacks model.layers.0.self_attn.bias"):
        merged(tmp_path, models(0), tuned)


def test_a_deeper_model_is_another_model(tmp_path, models):
    deeper = models(1, num_hidden_layers=3)
    with pytest.raises(MergeError, match=r"lacks 9 tensors, such as model.layers.2"):
        merged(tmp_path, models(0), deeper)


def test_copied_tensors_get_the_outputs_type(tmp_path, models):
    name, value = SPARE["multi-token prediction"]
    base = copy_with(models(0), tmp_path / "base", {name: value})
    _, found = merged(tmp_path, base, models(1), dtype="float32")
    assert found[name].dtype == torch.float32
    assert torch.equal(found[name], value.float())


def test_no_method_changes_what_is_copied(tmp_path, models):
    """A safety vector has none of it, and what is merged with it keeps the base's."""
    name, value = SPARE["rotary table"]
    base = copy_with(models(0), tmp_path / "base", {name: value})
    merge("safety-vector", base=base, unaligned=str(models(2)), out=tmp_path / "vector")
    assert name not in weights(tmp_path / "vector")
    _, found = merged(tmp_path, base, models(1), "resta", vector=str(tmp_path / "vector"))
    assert torch.equal(found[name], value)


def test_bert_with_and_without_its_pretraining_heads(tmp_path):
    """The Hub's file has positions, a pooler and a head that the language model has not."""
    config = transformers.BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertForPreTraining(config).save_pretrained(tmp_path / "hub")
    tuned = transformers.BertForMaskedLM(config)
    tuned.save_pretrained(tmp_path / "tuned")
    base = copy_with(tmp_path / "hub", tmp_path / "base", dict([SPARE["positions"]]))
    notes, found = merged(tmp_path, base, tmp_path / "tuned")
    assert "bert.pooler.dense.weight" in found
    assert len([note for note in notes if "copied from it" in note]) == 2
    transformers.BertForPreTraining.from_pretrained(tmp_path / "out")


def test_layers_of_a_text_part(tmp_path):
    """DeepSeek-V3's and GLM's prediction layer follows the last one; a tower has its own count."""
    from merge.models.checkpoint import Checkpoint
    from merge.models.spare_tensors import spare_kind

    config = {"text_config": {"num_hidden_layers": 2}, "vision_config": {"num_hidden_layers": 9}}
    checkpoint = Checkpoint(tmp_path, config, {})
    assert spare_kind(checkpoint, "model.language_model.layers.2.x", (1,)) is not None
    assert spare_kind(checkpoint, "model.language_model.layers.1.x", (1,)) is None
    assert spare_kind(checkpoint, "model.vision_tower.layers.5.x", (1,)) is None


def test_a_gpt_neox_pair_from_two_versions(tmp_path):
    config = transformers.GPTNeoXConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=16,
    )  # fmt: skip
    for seed in (0, 1):
        random_model(config, seed).save_pretrained(tmp_path / str(seed))
    buffers = {
        f"gpt_neox.layers.{layer}.attention.{name}": value.clone()
        for layer in range(2)
        for name, value in (
            ("bias", torch.ones(1, 1, 16, 16, dtype=torch.bool)),
            ("masked_bias", torch.tensor(-1e9)),
            ("rotary_emb.inv_freq", torch.arange(2.0)),
        )
    }
    old = copy_with(tmp_path / "1", tmp_path / "old", buffers)
    edit_json(old / "config.json", transformers_version="4.28.0")
    _, found = merged(tmp_path, tmp_path / "0", old)
    assert found.keys() == weights(tmp_path / "0").keys()


def test_layers_of_a_tower_are_no_spare_ones(tmp_path, models):
    """Though their number is beyond the language model's."""
    tower = {f"audio_tower.layers.{n}.fc1.weight": torch.ones(4, 4) for n in range(4)}
    deep = {f"model.encoder.layers.{n}.fc1.weight": torch.ones(4, 4) for n in range(4)}
    for number, parts in enumerate((tower, deep)):
        base = copy_with(models(0), tmp_path / f"base{number}", parts)
        gone = dict(list(parts.items())[:3])
        tuned = copy_with(models(1), tmp_path / f"tuned{number}", gone)
        with pytest.raises(MergeError, match=r"lacks \S+layers.3.fc1.weight that"):
            merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
