"""A shared embedding that a file holds under several names, or under another one."""

import json

import pytest
import torch
import transformers
from merge_models import SMALL, doubles, edit_json, weights
from safetensors.torch import save_file

from merge import merge

SIZES = {"vocab_size": 70, "d_model": 16, "decoder_start_token_id": 0}
LAYERS = {
    f"{side}_{what}": size
    for side in ("encoder", "decoder")
    for what, size in (("layers", 1), ("attention_heads", 4), ("ffn_dim", 24))
}
HEADS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
T5_COPIES = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]
FAMILIES = {
    "t5": (
        lambda: transformers.T5Config(**SIZES, d_kv=4, d_ff=24, num_layers=1, num_heads=4),
        transformers.T5ForConditionalGeneration,
        "shared.weight",
        T5_COPIES,
    ),
    "bart": (
        lambda: transformers.BartConfig(**SIZES, **LAYERS, max_position_embeddings=32),
        transformers.BartForConditionalGeneration,
        "model.shared.weight",
        [f"model.{name}" for name in T5_COPIES[:2]] + T5_COPIES[2:],
    ),
    "whisper": (
        lambda: transformers.WhisperConfig(
            **SIZES, **LAYERS, **HEADS, max_source_positions=8, max_target_positions=8,
            num_mel_bins=8,
        ),
        transformers.WhisperForConditionalGeneration,
        "model.decoder.embed_tokens.weight",
        ["proj_out.weight"],
    ),
    "gemma": (
        lambda: transformers.Gemma2Config(**(SMALL | {"vocab_size": 70}), head_dim=8),
        transformers.Gemma2ForCausalLM,
        "model.embed_tokens.weight",
        ["lm_head.weight"],
    ),
}  # fmt: skip


def made(tmp_path, family):
    config, kind, embedding, copies = FAMILIES[family]
    for seed in (0, 1):
        torch.manual_seed(seed)
        kind(config()).save_pretrained(tmp_path / str(seed))
        path = tmp_path / str(seed) / "config.json"
        # As families that are tied by default leave it.
        kept = json.loads(path.read_text())
        for key in ("tie_word_embeddings", "scale_decoder_outputs"):
            kept.pop(key, None)
        path.write_text(json.dumps(kept))
    return kind, embedding, copies


def rewrite(folder, change):
    save_file(change(weights(folder)), folder / "model.safetensors", metadata={"format": "pt"})


def half(tmp_path):
    base, tuned, out = (tmp_path / name for name in ("0", "1", "out"))
    merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=out)


def assert_tied_half(tmp_path, kind):
    """The output is as the inputs are: one embedding, the mean, and nothing untied."""
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config.get("tie_word_embeddings") is None
    out, one, two = (
        kind.from_pretrained(tmp_path / name, dtype=torch.float64).state_dict()
        for name in ("out", "0", "1")
    )
    for name, value in out.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[name] + two[name]) / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", ["0", "1"])
@pytest.mark.parametrize("family", FAMILIES)
def test_copies_of_the_embedding_do_not_untie(tmp_path, family, side):
    """As torch's own files hold them."""
    kind, embedding, copies = made(tmp_path, family)
    rewrite(
        tmp_path / side,
        lambda own: own | {name: own[embedding].clone() for name in copies},
    )
    half(tmp_path)
    assert_tied_half(tmp_path, kind)


@pytest.mark.parametrize("side", ["0", "1"])
@pytest.mark.parametrize("family", ["whisper", "gemma"])
def test_the_embedding_under_the_heads_name_alone(tmp_path, family, side):
    """As safetensors' `save_model` leaves it."""
    kind, embedding, [head] = made(tmp_path, family)
    rewrite(
        tmp_path / side,
        lambda own: {head if name == embedding else name: own[name] for name in own},
    )
    half(tmp_path)
    assert_tied_half(tmp_path, kind)


def test_a_head_of_its_own_still_unties(tmp_path):
    _, embedding, [head] = made(tmp_path, "gemma")
    rewrite(tmp_path / "1", lambda own: own | {head: own[embedding] + 1})
    edit_json(tmp_path / "1/config.json", tie_word_embeddings=False)
    half(tmp_path)
    found, one, two = (doubles(tmp_path / name) for name in ("out", "0", "1"))
    torch.testing.assert_close(found[head], (one[embedding] + two[head]) / 2, rtol=1e-4, atol=1e-5)
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False
