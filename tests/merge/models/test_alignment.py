"""Inputs that differ in tying, vocabulary or tensors: bridged, or refused with every reason."""

import json

import pytest
import torch
import transformers
from merge_models import (
    assert_rounded,
    copy_with,
    doubles,
    edit_json,
    weights,
    write_tokenizer,
)

from merge import MergeError, merge, verify

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def merged_half(tmp_path, base, tuned, **arguments):
    done = merge(
        "linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out", **arguments
    )
    verify(tmp_path / "out")
    return done, weights(tmp_path / "out")


def check_loads_as_stored(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    stored = weights(folder)
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored.get(name, stored[EMBEDDING])), name
    return model


def test_both_tied_stay_tied(tmp_path, models):
    base, tuned = (models(seed, tie_word_embeddings=True) for seed in (0, 1))
    assert HEAD not in weights(base)
    _, merged = merged_half(tmp_path, base, tuned)
    assert HEAD not in merged
    model = check_loads_as_stored(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("tied", ["base", "tuned"])
def test_one_tied_gives_an_untied_output(tmp_path, models, tied):
    base = models(0, tie_word_embeddings=tied == "base")
    tuned = models(1, tie_word_embeddings=tied == "tuned")
    done, merged = merged_half(tmp_path, base, tuned)
    a, b = doubles(base), doubles(tuned)
    head = 0.5 * a.get(HEAD, a[EMBEDDING]) + 0.5 * b.get(HEAD, b[EMBEDDING])
    assert_rounded(merged[HEAD], head)
    assert_rounded(merged[EMBEDDING], 0.5 * (a[EMBEDDING] + b[EMBEDDING]))
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["tie_word_embeddings"] is False
    check_loads_as_stored(tmp_path / "out")
    assert (tied == "base") == any("has one of its own" in note for note in done.notes)


def test_redundant_head_of_a_tied_model_is_left_out(tmp_path, models):
    base = models(0, tie_word_embeddings=True)
    copy = copy_with(base, tmp_path / "copy", {HEAD: weights(base)[EMBEDDING]})
    _, merged = merged_half(tmp_path, copy, models(1, tie_word_embeddings=True))
    assert HEAD not in merged


def test_contradictory_head_of_a_tied_model_is_refused(tmp_path, models):
    base = models(0, tie_word_embeddings=True)
    copy = copy_with(base, tmp_path / "copy", {HEAD: weights(base)[EMBEDDING] + 1})
    with pytest.raises(MergeError, match=r"ties the head to the embedding, but lm_head.weight"):
        merged_half(tmp_path, copy, base)


def with_rows(folder, out, rows, tokens=()):
    """Copy a model with another number of embedding rows and added tokens."""
    changes = {}
    for name in (EMBEDDING, HEAD):
        old = weights(folder)[name]
        torch.manual_seed(rows)
        extra = torch.randn(max(0, rows - len(old)), old.shape[1]).to(old.dtype)
        changes[name] = torch.cat([old[:rows], extra])
    copy = copy_with(folder, out, changes)
    edit_json(copy / "config.json", vocab_size=rows)
    if tokens:
        write_tokenizer(copy, tokens)
    return copy


def test_padded_vocabulary_is_kept(tmp_path, models):
    """Rows beyond the tokenizer's tokens are rows like any other."""
    base, tuned = (with_rows(models(seed), tmp_path / str(seed), 72) for seed in (0, 1))
    _, merged = merged_half(tmp_path, base, tuned)
    assert merged[EMBEDDING].shape == (72, 16)


def test_vocabularies_of_different_size_are_refused(tmp_path, models):
    tuned = with_rows(models(1), tmp_path / "tuned", 66)
    with pytest.raises(MergeError, match=r"64 rows in .*66 rows in .*--vocabulary grow"):
        merged_half(tmp_path, models(0), tuned)


@pytest.mark.parametrize("longer", ["base", "tuned"])
def test_vocabulary_base_keeps_the_bases_rows(tmp_path, models, longer):
    rows = {"base": (72, 64), "tuned": (64, 72)}[longer]
    base, tuned = (
        with_rows(models(seed), tmp_path / str(seed), count)
        for seed, count in zip((0, 1), rows, strict=True)
    )
    _, merged = merged_half(tmp_path, base, tuned, vocabulary="base")
    a, b = doubles(base), doubles(tuned)
    assert merged[HEAD].shape == a[HEAD].shape
    assert_rounded(merged[HEAD][:64], 0.5 * (a[HEAD][:64] + b[HEAD][:64]))
    assert torch.equal(merged[HEAD][64:].double(), a[HEAD][64:])
    check_loads_as_stored(tmp_path / "out")


def test_added_tokens_are_refused_or_grown(tmp_path, models):
    tuned = with_rows(models(1), tmp_path / "tuned", 66, tokens=("<tool>", "<call>"))
    with pytest.raises(MergeError, match=r'tokens that .* lacks \("<tool>", "<call>"\)'):
        merged_half(tmp_path, models(0), tuned)
    _, merged = merged_half(tmp_path, models(0), tuned, vocabulary="grow")
    a, b = doubles(models(0)), doubles(tuned)
    assert_rounded(merged[EMBEDDING][:64], 0.5 * (a[EMBEDDING] + b[EMBEDDING][:64]))
    assert torch.equal(merged[EMBEDDING][64:].double(), b[EMBEDDING][64:])
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["vocab_size"] == 66
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.convert_tokens_to_ids("<call>") == 61
    check_loads_as_stored(tmp_path / "out")


def test_added_tokens_in_padding_are_refused(tmp_path, models):
    """Equal sizes do not mean equal vocabularies."""
    tuned = copy_with(models(1), tmp_path / "tuned", {})
    write_tokenizer(tuned, ("<tool>",))
    with pytest.raises(MergeError, match=r'tokens that .* lacks \("<tool>"\)'):
        merged_half(tmp_path, models(0), tuned)


@pytest.mark.parametrize("policy", ["refuse", "base", "grow"])
def test_clashing_tokens_are_always_refused(tmp_path, models, policy):
    base, tuned = (copy_with(models(seed), tmp_path / str(seed), {}) for seed in (0, 1))
    write_tokenizer(base, ("<one>", "<two>"))
    write_tokenizer(tuned, ("<two>", "<one>"))
    with pytest.raises(MergeError, match="give the same ids to different tokens"):
        merged_half(tmp_path, base, tuned, vocabulary=policy)


def test_two_models_with_different_new_tokens(tmp_path, models):
    one = with_rows(models(1), tmp_path / "one", 66, tokens=("<a>",))
    two = with_rows(models(2), tmp_path / "two", 66, tokens=("<b>",))
    with pytest.raises(MergeError, match="add different tokens"):
        merge(
            "linear",
            base=models(0),
            tuned=[one, two],
            lambdas=[0.5],
            vocabulary="grow",
            out=tmp_path / "out",
        )


def test_every_misfit_is_listed_at_once(tmp_path, models):
    tuned = copy_with(
        models(1),
        tmp_path / "tuned",
        {
            "model.norm.weight": None,
            "model.layers.0.mlp.up_proj.weight": torch.zeros(3, 5, dtype=torch.bfloat16),
            "model.layers.1.extra": torch.zeros(2),
            "model.layers.1.input_layernorm.weight": torch.zeros(16, dtype=torch.int32),
        },
    )
    with pytest.raises(MergeError) as caught:
        merged_half(tmp_path, models(0), tuned)
    message = str(caught.value)
    for part in (
        "lacks model.norm.weight",
        "up_proj.weight has shape [3, 5]",
        "lacks model.layers.1.extra that",
        "input_layernorm.weight is I32",
    ):
        assert part in message
    assert not (tmp_path / "out").exists()


def test_integers_that_differ_are_reported(tmp_path, models):
    base = copy_with(models(0), tmp_path / "a", {"steps": torch.tensor([1])})
    tuned = copy_with(models(1), tmp_path / "b", {"steps": torch.tensor([2])})
    done, merged = merged_half(tmp_path, base, tuned)
    assert merged["steps"].tolist() == [1]
    assert done.notes == (
        "steps holds integers that differ between the inputs; the base's were kept",
    )
