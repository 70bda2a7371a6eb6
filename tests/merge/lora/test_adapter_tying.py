"""Adapters on models with a tied head, and adapters with rows of their own.

What is right is what the unmerged model computes: peft leaves a tied head as it was when the
embedding is trained as a copy or by LoRA.
"""

import json
import shutil

import peft
import pytest
import torch
import transformers
from merge_models import (
    SMALL,
    assert_rounded,
    copy_with,
    edit_json,
    random_model,
    weights,
    write_tokenizer,
)
from safetensors.torch import load_file, save_file

from merge import MergeError, merge

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TOKENS = torch.arange(3, 23)[None]

TIED = {
    "llama": lambda: transformers.LlamaConfig(**SMALL, tie_word_embeddings=True),
    "gpt-neox": lambda: transformers.GPTNeoXConfig(
        **{key: value for key, value in SMALL.items() if key != "num_key_value_heads"},
        tie_word_embeddings=True,
    ),
    "gemma2": lambda: transformers.Gemma2Config(**SMALL, head_dim=8),
}
NAMES = {"gpt-neox": ("embed_in", "lm_head", "query_key_value")}


def train(base, folder, seed=1, resize=0, **lora):
    """Write an adapter with random values, as peft does, and return the unmerged model's logits."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    if resize:
        model.resize_token_embeddings(resize, mean_resizing=False)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=8, **lora))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    wrapped.save_pretrained(folder)
    return wrapped.eval()(TOKENS).logits.detach()


WAYS = {
    "copy of the embedding": lambda e, h: {"modules_to_save": [e]},
    "copy of the head": lambda e, h: {"modules_to_save": [h]},
    "copies of both": lambda e, h: {"modules_to_save": [e, h]},
    "copies of both, tied": lambda e, h: {"modules_to_save": [e, h], "ensure_weight_tying": True},
    "copy of the embedding, tied": lambda e, h: {
        "modules_to_save": [e],
        "ensure_weight_tying": True,
    },
    "LoRA on the embedding": lambda e, h: {"also": [e]},
    "LoRA on the head": lambda e, h: {"also": [h]},
    "tokens": lambda e, h: {"trainable_token_indices": {e: [3, 9]}},
}
STAY_TIED = {"copies of both, tied", "copy of the embedding, tied", "tokens"}


@pytest.mark.parametrize("family", TIED)
@pytest.mark.parametrize("way", WAYS)
def test_a_tied_base_computes_what_the_adapter_was_trained_to(tmp_path, family, way):
    base = tmp_path / "base"
    random_model(TIED[family](), 0).save_pretrained(base)
    embedding, head, attention = NAMES.get(family, ("embed_tokens", "lm_head", "q_proj"))
    lora = WAYS[way](embedding, head)
    lora["target_modules"] = [attention, *lora.pop("also", [])]
    expected = train(base, tmp_path / "adapter", **lora)
    merge("linear", base=base, tuned=[tmp_path / "adapter"], lambdas=[1], out=tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(model.eval()(TOKENS).logits, expected, rtol=1e-3, atol=1e-3)
    tied = json.loads((tmp_path / "out/config.json").read_text()).get("tie_word_embeddings", True)
    # peft ties by these names only.
    ignored = family == "gpt-neox" and way == "copy of the embedding, tied"
    assert tied == (way in STAY_TIED and not ignored)


@pytest.mark.parametrize("way", ["copy of the head", "LoRA on the embedding"])
def test_a_tied_base_with_a_merged_adapter(tmp_path, way):
    base = tmp_path / "base"
    random_model(TIED["gpt-neox"](), 0).save_pretrained(base)
    lora = WAYS[way]("embed_in", "lm_head")
    lora["target_modules"] = ["query_key_value", *lora.pop("also", [])]
    expected = train(base, tmp_path / "adapter", **lora)
    merge(
        "linear", base=base, tuned=[tmp_path / "adapter"], lambdas=[1], output="adapter",
        out=tmp_path / "out",
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    logits = peft.PeftModel.from_pretrained(model, tmp_path / "out").eval()(TOKENS).logits
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_a_tied_head_of_unknown_name_is_refused(tmp_path, models):
    base = shutil.copytree(models(0, tie_word_embeddings=True), tmp_path / "base")
    train(base, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    for folder in (base, tmp_path / "adapter"):
        path = next(folder.glob("*.safetensors"))
        renamed = {
            key.replace("model.embed_tokens", "model.words"): value
            for key, value in load_file(path).items()
        }
        save_file(renamed, path, metadata={"format": "pt"})
    edit_json(tmp_path / "adapter/adapter_config.json", modules_to_save=["words"])
    with pytest.raises(MergeError, match="the head's name is not known for LlamaForCausalLM"):
        merge("linear", base=base, tuned=[tmp_path / "adapter"], lambdas=[1], out=tmp_path / "out")


RESIZED = {
    "copies": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "LoRA": {"also": ["embed_tokens", "lm_head"]},
    "rows saved only": {},
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("way", RESIZED)
def test_an_adapter_with_rows_of_its_own(tmp_path, models, way, tied):
    base = models(0, dtype="float32", tie_word_embeddings=tied)
    lora = dict(RESIZED[way])
    lora["target_modules"] = ["q_proj", *lora.pop("also", [])]
    adapter = tmp_path / "adapter"
    expected = train(base, adapter, resize=66, **lora)

    def merged(name, **arguments):
        out = tmp_path / name
        merge("linear", base=base, tuned=[adapter], lambdas=[1], out=out, **arguments)
        return weights(out), transformers.AutoModelForCausalLM.from_pretrained(out)

    with pytest.raises(MergeError, match="--vocabulary base keeps the base's rows and"):
        merged("refused")
    found, model = merged("grown", vocabulary="grow")
    assert found[EMBEDDING].shape == (66, 16)
    torch.testing.assert_close(model.eval()(TOKENS).logits, expected, rtol=1e-3, atol=1e-3)
    found, model = merged("base", vocabulary="base")
    assert found[EMBEDDING].shape == (64, 16)
    logits = model.eval()(TOKENS).logits
    torch.testing.assert_close(logits, expected[..., :64], rtol=1e-3, atol=1e-3)


def test_updated_rows_beside_a_longer_model(tmp_path, models, adapters):
    """An adapter on the base's rows changes nothing of the rows that another model adds."""
    base, adapter = models(0), adapters(1, target_modules=["embed_tokens"])
    longer = {}
    for name in (EMBEDDING, HEAD):
        old = weights(models(2))[name]
        longer[name] = torch.cat([old, torch.ones(2, old.shape[1], dtype=old.dtype)])
    full = copy_with(models(2), tmp_path / "full", longer)
    edit_json(full / "config.json", vocab_size=66)
    merge(
        "task-arithmetic", base=base, tuned=[full, adapter], vocabulary="grow",
        out=tmp_path / "out",
    )  # fmt: skip
    found = weights(tmp_path / "out")[EMBEDDING]
    assert torch.equal(found[64:], longer[EMBEDDING][64:])
    merge("linear", base=base, tuned=[adapter], lambdas=[1], out=tmp_path / "alone")
    alone = weights(tmp_path / "alone")[EMBEDDING].double()
    sum_ = alone + longer[EMBEDDING][:64].double() - weights(base)[EMBEDDING].double()
    assert (found[:64].double() - sum_).abs().max() < 0.02


def test_rows_without_a_start_are_refused(tmp_path, models):
    base = models(0, dtype="float32")
    train(base, tmp_path / "adapter", resize=66, target_modules=["q_proj", "embed_tokens"])
    path = tmp_path / "adapter/adapter_model.safetensors"
    kept = {key: value for key, value in load_file(path).items() if "base_layer" not in key}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(MergeError, match="save_embedding_layers=True"):
        merge(
            "linear", base=base, tuned=[tmp_path / "adapter"], lambdas=[1], vocabulary="grow",
            out=tmp_path / "out",
        )  # fmt: skip


def test_tokens_of_an_adapter_count_as_a_models(tmp_path, models, adapters):
    """A token that is added within the padding needs the adapter's tokenizer."""
    adapter = shutil.copytree(
        adapters(1, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [60]}),
        tmp_path / "adapter",
    )
    write_tokenizer(adapter, ("<tool>",))

    def merged(vocabulary):
        merge(
            "linear", base=models(0), tuned=[adapter], lambdas=[0.5], vocabulary=vocabulary,
            out=tmp_path / "out",
        )  # fmt: skip

    with pytest.raises(MergeError, match=rf'{adapter} has tokens that .* lacks \("<tool>"\)'):
        merged("refuse")
    merged("grow")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.convert_tokens_to_ids("<tool>") == 60


def test_rounded_to_the_bases_type(tmp_path, models, adapters):
    base = models(0, tie_word_embeddings=True)
    adapter = adapters(1, base=base, target_modules=["q_proj"], modules_to_save=["lm_head"])
    merge("linear", base=base, tuned=[adapter], lambdas=[0.25], out=tmp_path / "out")
    head = load_file(adapter / "adapter_model.safetensors")["base_model.model.lm_head.weight"]
    embedding = weights(base)[EMBEDDING].double()
    found = weights(tmp_path / "out")
    assert torch.equal(found[EMBEDDING].double(), embedding)
    assert_rounded(found[HEAD], 0.75 * embedding + 0.25 * head.double())


OTHERS = {
    "opt": lambda: transformers.OPTConfig(
        vocab_size=70, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=64, word_embed_proj_dim=16,
    ),
    "biogpt": lambda: transformers.BioGptConfig(
        **{k: v for k, v in SMALL.items() if k != "num_key_value_heads"} | {"vocab_size": 70}
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("way", ["copy of the embedding", "LoRA on the embedding"])
def test_heads_by_other_names(tmp_path, family, way):
    base, out = tmp_path / "base", tmp_path / "out"
    random_model(OTHERS[family](), 0).save_pretrained(base)
    lora = WAYS[way]("embed_tokens", "")
    lora["target_modules"] = ["q_proj", *lora.pop("also", [])]
    expected = train(base, tmp_path / "adapter", **lora)
    merge("linear", base=base, tuned=[tmp_path / "adapter"], lambdas=[1], out=out)
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(model.eval()(TOKENS).logits, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("way", ["copy of the embedding", "LoRA on the embedding"])
def test_a_tied_model_that_sees(tmp_path, way):
    """Its files have another name for the embedding than peft, which is no head's."""
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 8, "patch_size": 4,
    }  # fmt: skip
    kind = transformers.Gemma3ForConditionalGeneration
    text = SMALL | {"vocab_size": 70, "head_dim": 8}
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4
    )
    torch.manual_seed(0)
    kind(config).save_pretrained(tmp_path / "base")
    lora = WAYS[way]("embed_tokens", "")
    also = "|".join(["q_proj", *lora.pop("also", [])])
    lora["target_modules"] = rf".*language_model.*({also})"
    wrapped = peft.get_peft_model(kind.from_pretrained(tmp_path / "base"), peft.LoraConfig(**lora))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    wrapped.save_pretrained(tmp_path / "adapter")
    merge(
        "linear", base=tmp_path / "base", tuned=[tmp_path / "adapter"], lambdas=[1],
        out=tmp_path / "out",
    )  # fmt: skip
    logits = kind.from_pretrained(tmp_path / "out").eval()(TOKENS).logits
    expected = wrapped.eval()(TOKENS).logits
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
