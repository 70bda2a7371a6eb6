"""Adapters that peft merges whole, because their update is not computed block by block."""

import shutil
import tempfile

import peft
import pytest
import torch
import transformers
from merge_models import assert_rounded, copy_with, doubles, edit_json, weights
from safetensors.torch import load_file, save_file

from merge import MergeError, build_recipe, check, merge, verify
from merge.models.saved_vector import MANIFEST

TARGETS = ["q_proj", "v_proj"]
KINDS = {
    "IA3": lambda: peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=[]),
    "LoHa": lambda: peft.LoHaConfig(r=2, alpha=3, target_modules=TARGETS),
    "OFT": lambda: peft.OFTConfig(r=0, oft_block_size=4, target_modules=TARGETS),
    "AdaLoRA": lambda: peft.AdaLoraConfig(
        init_r=3, target_r=2, total_step=10, target_modules=TARGETS
    ),
    "LN tuning": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"]),
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Return where what is needed for a while is put."""
    folder = tmp_path / "for a while"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def trained(base, config, folder, **loading):
    """Write an adapter with random values and return what peft makes of it in float64."""
    load = transformers.AutoModelForCausalLM.from_pretrained
    torch.manual_seed(2)
    wrapped = peft.get_peft_model(load(base, dtype=torch.float32, **loading), config)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.2)
    wrapped.save_pretrained(folder)
    model = peft.PeftModel.from_pretrained(load(base, dtype=torch.float64), folder)
    return dict(model.to(torch.float64).merge_and_unload().state_dict())


def half_of(base, adapter):
    return build_recipe(
        method="linear", base=str(base), tuned=[{"model": str(adapter)}], lambdas=(0.5,)
    )


def merge_all_of(base, adapter, out):
    return merge("linear", base=base, tuned=[adapter], lambdas=[1], out=out)


@pytest.mark.parametrize("kind", KINDS)
def test_peft_merges_what_is_not_streamed(tmp_path, models, place, kind):
    tuned = trained(models(0), KINDS[kind](), tmp_path / "adapter")
    done = merge(
        "linear",
        base=models(0),
        tuned=[tmp_path / "adapter"],
        lambdas=[0.4, 1],
        out=tmp_path / "out",
    )
    assert [note for note in done.notes if "peft merges it whole first, which takes" in note]
    assert str(tmp_path) not in (tmp_path / "out/lambda-1" / MANIFEST).read_text()
    assert not list(place.iterdir())
    base = doubles(models(0))
    assert any(not torch.equal(tuned[name].double(), base[name]) for name in base)
    for scale in (0.4, 1):
        verify(tmp_path / f"out/lambda-{scale:g}")
        for name, tensor in weights(tmp_path / f"out/lambda-{scale:g}").items():
            assert_rounded(tensor, (1 - scale) * base[name] + scale * tuned[name].double())


def test_a_check_lets_peft_do_nothing(tmp_path, models, place, monkeypatch):
    trained(models(0), KINDS["LoHa"](), tmp_path / "adapter")
    monkeypatch.setattr(peft, "PeftModel", None)
    recipe = half_of(models(0), tmp_path / "adapter")
    plan = check(recipe, tmp_path / "out")
    assert [note for note in plan.notes if "the adapter's type is LOHA, so peft merges" in note]
    assert not list(place.iterdir())


def test_another_base_is_noted(tmp_path, models):
    trained(models(0), KINDS["LoHa"](), tmp_path / "adapter")
    edit_json(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path="else/where")
    recipe = half_of(models(0), tmp_path / "adapter")
    assert [note for note in check(recipe).notes if "trained on else/where" in note]


def test_no_room_for_a_whole_merge(tmp_path, models, monkeypatch):
    trained(models(0), KINDS["LoHa"](), tmp_path / "adapter")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(MergeError, match="set TMPDIR to a larger disk"):
        merge_all_of(models(0), tmp_path / "adapter", tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "changes no weights that could be merged"),
        ({"peft_type": "FUTURE"}, "changes no weights that could be merged"),
        (
            {"some_future_variant": 3},
            "some_future_variant is set to 3.*the installed peft .* not know",
        ),
        ({"peft_type": "IA3"}, "peft .* does not know bias"),
    ],
)
def test_what_peft_cannot_merge_either(tmp_path, models, adapters, place, changes, message):
    adapter = shutil.copytree(adapters(1), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", **changes)
    with pytest.raises(MergeError, match=message):
        merge_all_of(models(0), adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(place.iterdir())


def test_a_file_that_is_not_whole(tmp_path, models, place):
    trained(models(0), KINDS["LoHa"](), tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if "v_proj" in name))
    save_file(tensors, path)
    with pytest.raises(MergeError, match="the configuration and the file disagree about 1 tensors"):
        merge_all_of(models(0), tmp_path / "adapter", tmp_path / "out")
    assert not list(place.iterdir())


def test_a_model_that_transformers_has_no_class_for(tmp_path, models):
    trained(models(0), KINDS["LoHa"](), tmp_path / "adapter")
    base = copy_with(models(0), tmp_path / "base", {})
    edit_json(base / "config.json", architectures=["OwnForCausalLM"])
    with pytest.raises(MergeError, match="transformers has no class OwnForCausalLM"):
        merge("linear", base=base, tuned=[tmp_path / "adapter"], lambdas=[1], out=tmp_path / "out")


def test_safe_lora_needs_an_update_of_low_rank(tmp_path, models):
    trained(models(0), KINDS["LoHa"](), tmp_path / "adapter")
    with pytest.raises(MergeError, match="works on a LoRA update"):
        merge(
            "safe-lora",
            base=models(0),
            tuned=[tmp_path / "adapter"],
            unaligned=str(models(2)),
            out=tmp_path / "out",
        )


def test_the_adapters_tokenizer_counts(tmp_path, models):
    trained(models(0), KINDS["LoHa"](), tmp_path / "adapter")
    shutil.copy(models(1, tokens=1) / "tokenizer.json", tmp_path / "adapter")
    with pytest.raises(MergeError, match="has tokens that .* lacks"):
        merge_all_of(models(0), tmp_path / "adapter", tmp_path / "out")


@pytest.mark.parametrize(
    "changes", [{"alora_invocation_tokens": [5, 6]}, {"peft_type": "XLORA"}, {"peft_type": "POLY"}]
)
def test_what_is_switched_on_token_by_token(tmp_path, models, adapters, changes):
    """A check says so too, though peft merges nothing for it."""
    adapter = shutil.copytree(adapters(1), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", **changes)
    with pytest.raises(MergeError, match="switched on token by token, so no merged weights"):
        check(half_of(models(0), adapter))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
def test_one_side_of_a_tied_head(tmp_path, models, tied, module):
    """What peft computes before it merges: the other side is as it was."""
    base, adapter, out = models(0, tie_word_embeddings=tied), tmp_path / "adapter", tmp_path / "out"
    kinds = {
        "lm_head": peft.LoHaConfig(r=2, target_modules=["q_proj", "lm_head"]),
        "embed_tokens": peft.IA3Config(
            target_modules=["k_proj"], feedforward_modules=[], modules_to_save=["embed_tokens"]
        ),
    }
    trained(base, kinds[module], adapter)
    load = transformers.AutoModelForCausalLM.from_pretrained
    tokens = torch.arange(3, 13)[None]
    model = peft.PeftModel.from_pretrained(load(base, dtype=torch.float32), adapter).eval()
    expected = model(tokens).logits
    merge("linear", base=base, tuned=[adapter], lambdas=[1], dtype="float32", out=out)
    torch.testing.assert_close(load(out).eval()(tokens).logits, expected, rtol=1e-3, atol=1e-3)
