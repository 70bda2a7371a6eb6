"""SafeMERGE, on whole updates in float64, for adapters and full models."""

import math

import peft
import pytest
import torch
import transformers
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_models import assert_rounded, doubles, peft_merged, weights

from merge import MergeError, build_recipe, merge
from merge.methods.math.subspaces import cosine_with_projection
from merge.output.manifest import read_manifest
from merge.recipe.tensor_settings import Place

UNALIGNED, SAFE = 4, 5


def cosine(update, vector):
    """Return cos(C·ΔW, ΔW), or nan of what is never merged."""
    if update.ndim != 2 or not update.any():
        return math.nan
    projected = vector @ vector.T @ update
    norm = float(projected.norm() * update.norm())
    return float((projected * update).sum()) / norm if norm else 0.0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    case=drawn_merges(1, 1),
    threshold=st.sampled_from([-0.1, 0.2, 0.35, 0.5, 0.9]),
    scale=st.sampled_from([0.0, 0.25, 0.8, 1.0]),
    to_base=st.booleans(),
)
def test_is_its_formula(case, threshold, scale, to_base):
    recipe = {} if to_base else {"safe": SAFE}
    merged = case.merged(
        "safemerge-to-base" if to_base else "safemerge",
        {"threshold": threshold},
        unaligned=UNALIGNED,
        lambdas=(scale,),
        **recipe,
    )
    base, unaligned, safe = (case.exact(number) for number in (0, UNALIGNED, SAFE))
    exact = {}
    for name, start in base.items():
        [delta] = case.deltas(name)
        below = cosine(delta, start - unaligned[name]) < threshold
        other = 0 if to_base else (1 - scale) * (safe[name] - start)
        exact[name] = start + (scale * delta + other if below else delta)
    case.compare(merged, exact)


def test_adapters_are_merged_as_whole_updates(tmp_path, models, adapters):
    base, unaligned = doubles(models(0)), doubles(models(2))
    tuned, safe = (
        {name: value.double() for name, value in peft_merged(models(0), adapters(n)).items()}
        for n in (1, 2)
    )
    cosines = {
        name: cosine(tuned[name] - value, value - unaligned[name]) for name, value in base.items()
    }
    updated = sorted(value for value in cosines.values() if not math.isnan(value))
    # Between the third and the fourth.
    threshold = (updated[2] + updated[3]) / 2
    done = merge(
        "safemerge",
        base=models(0),
        tuned=[adapters(1)],
        safe=str(adapters(2)),
        unaligned=str(models(2)),
        parameters={"threshold": threshold},
        out=tmp_path / "out",
    )
    assert done.report == {"updates merged": 3, "updates kept": len(updated) - 3}
    for name, tensor in weights(tmp_path / "out").items():
        merged = cosines[name] < threshold
        assert_rounded(tensor, 0.8 * tuned[name] + 0.2 * safe[name] if merged else tuned[name])


def test_a_weight_that_is_stored_the_other_way_round(tmp_path):
    """GPT-2 has `[in, out]`: C is on the output's side there too."""
    config = transformers.GPT2Config(vocab_size=64, n_positions=64, n_embd=16, n_layer=1, n_head=4)
    for seed in (0, 2):
        torch.manual_seed(seed)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / str(seed))
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "0")
    lora = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    wrapped = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    wrapped.save_pretrained(tmp_path / "tuned")
    base, unaligned = doubles(tmp_path / "0"), doubles(tmp_path / "2")
    peft_made = wrapped.double().merge_and_unload().state_dict()
    name = "transformer.h.0.attn.c_attn.weight"
    stored = next(key for key in base if name.endswith(key))
    update = (peft_made[name] - base[stored]).T
    right, wrong = (
        cosine(update, (base[stored] - unaligned[stored]).T),
        cosine(update.T, base[stored] - unaligned[stored]),
    )
    assert abs(right - wrong) > 1e-3
    for threshold, kept in ((right - 1e-4, True), (right + 1e-4, False)):
        out = tmp_path / f"out{kept}"
        merge(
            "safemerge-to-base", base=tmp_path / "0", tuned=[tmp_path / "tuned"], lambdas=[0.5],
            unaligned=str(tmp_path / "2"), parameters={"threshold": threshold}, out=out,
        )  # fmt: skip
        exact = base[stored] + (1 if kept else 0.5) * update.T
        merged = weights(out)[stored].double()
        torch.testing.assert_close(merged, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_the_cosine_of_factors_is_that_of_their_product(shape):
    generator = torch.Generator().manual_seed(3)
    vector = torch.randn(shape, generator=generator).double()
    left = torch.randn(shape[0], 2, generator=generator).double()
    right = torch.randn(2, shape[1], generator=generator).double()
    exact = cosine(left @ right, vector)
    assert cosine_with_projection(vector, left, right) == pytest.approx(exact, rel=1e-12)
    assert cosine_with_projection(vector, left @ right) == pytest.approx(exact, rel=1e-12)
    assert cosine_with_projection(torch.zeros(shape).double(), left, right) == 0


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("safemerge", {"unaligned": "c"}, "safemerge needs a model or adapter .*; give --safe"),
        ("safemerge", {"safe": "c"}, "safemerge needs either --unaligned"),
        ("safemerge-to-base", {"unaligned": "c", "safe": "d"}, "takes no --safe .*; remove it"),
        ("linear", {"safe": "d", "lambdas": [1]}, "linear takes no --safe .*; remove it"),
    ],
)
def test_models_it_needs(method, given, message):
    with pytest.raises(MergeError, match=message):
        build_recipe(method=method, base="a", tuned=[{"model": "b"}], **given)


@pytest.mark.parametrize(("threshold", "factor"), [(0, 1.0), (1e-6, 0.5)])
def test_a_cosine_at_the_threshold_is_not_below_it(tmp_path, models, threshold, factor):
    """A vector of zeros has the cosine 0 with every update."""
    done = merge(
        "safemerge-to-base", base=models(0), tuned=[models(1)], unaligned=str(models(0)),
        parameters={"threshold": threshold}, lambdas=[0.5], out=tmp_path / "out",
    )  # fmt: skip
    assert done.report.keys() == {"updates merged" if factor < 1 else "updates kept"}
    base, tuned = doubles(models(0)), doubles(models(1))
    for name, tensor in weights(tmp_path / "out").items():
        share = factor if tensor.ndim == 2 else 1.0
        assert_rounded(tensor, base[name] + share * (tuned[name] - base[name]))


def test_its_defaults_are_the_paper_s():
    models = {"base": "a", "tuned": [{"model": "b"}], "unaligned": "c", "safe": "d"}
    recipe = build_recipe(method="safemerge", **models)
    place = Place("", 0.0)
    assert (recipe.values_at(place)["threshold"], *recipe.lambdas_at(place)) == (0.35, 0.8)


def test_the_safe_model_is_an_input_like_any_other(tmp_path, models):
    merge(
        "safemerge", base=models(0), tuned=[models(1)], safe=str(models(3)),
        unaligned=str(models(2)), parameters={"threshold": 1}, out=tmp_path / "out",
    )  # fmt: skip
    manifest = read_manifest(tmp_path / "out")
    safe = next(each for each in manifest["inputs"] if each["role"] == "safe")
    assert safe["reference"] == manifest["recipe"]["safe"] == models(3).name
    assert safe["checksum"]
