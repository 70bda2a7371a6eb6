"""What no input changes comes out as the base's bytes, and is not computed."""

from collections import Counter

import pytest
import torch
from merge_models import copy_with, weights

from merge import MergeError, Options, build_recipe, merge, merge_recipe, verify
from merge.methods import methods
from merge.methods.block import Block
from merge.methods.method import Method
from merge.output.manifest import read_manifest

ATTENTION = {"target_modules": ["q_proj", "v_proj"]}


@pytest.fixture
def computed(monkeypatch):
    """Count the blocks of each tensor that a method is given."""
    seen: Counter[str] = Counter()
    original = Block.__init__

    def counting(self, name, *arguments, **more):
        seen[name] += 1
        original(self, name, *arguments, **more)

    monkeypatch.setattr(Block, "__init__", counting)
    return seen


def compute_all(monkeypatch):
    """Let every method compute what it could copy."""
    for kind in [Method, *_below(Method)]:
        if "keeps_base" in vars(kind):
            monkeypatch.setattr(kind, "keeps_base", lambda self, values: False)


def _below(kind):
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def essence(folder):
    manifest = read_manifest(folder)
    return {name: manifest[name] for name in ("tensors", "inputs", "report", "notes", "lambda")}


RECIPES = {
    "linear": {"lambdas": [0.2, 0.7]},
    "task-arithmetic": {"lambdas": [-0.5, 1.5], "parameters": {"weight": 0.7}},
    "dare-linear": {"lambdas": [0.4, 1.0], "parameters": {"drop_rate": 0.4}},
    "dare-ties": {"lambdas": [0.6], "parameters": {"drop_rate": 0.4}},
    "ties": {"lambdas": [0.6], "parameters": {"density": 0.4}},
    "model-stock": {"more": True},
    "slerp": {"lambdas": [0.3]},
    "resta": {"unaligned": True, "parameters": {"gamma": 0.3}},
    "safe-lora": {"unaligned": True, "parameters": {"threshold": 0.5}},
}


@pytest.mark.parametrize("method", RECIPES)
def test_copies_are_what_would_be_computed(
    tmp_path, models, adapters, computed, monkeypatch, method
):
    given = dict(RECIPES[method])
    tuned = [adapters(1, **ATTENTION)]
    if given.pop("more", False):
        tuned.append(adapters(2, **ATTENTION))
    if given.pop("unaligned", False):
        given["unaligned"] = str(adapters(3, **ATTENTION))
    merged = merge(method, base=models(0), tuned=tuned, out=tmp_path / "copied", **given)
    touched = {name for name in computed if "q_proj" in name or "v_proj" in name}
    assert touched
    # SLERP counts every tensor in its report.
    assert (set(computed) == touched) == (method != "slerp")
    compute_all(monkeypatch)
    computed.clear()
    again = merge(method, base=models(0), tuned=tuned, out=tmp_path / "computed", **given)
    assert len(computed) == len(weights(models(0)))
    for one, other in zip(merged.folders, again.folders, strict=True):
        assert essence(one) == essence(other)
        assert verify(one) == [one]
        ours, theirs = weights(one), weights(other)
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_zero_keeps_its_sign(tmp_path, models, adapters):
    zeros = {"model.norm.weight": torch.full((16,), -0.0, dtype=torch.bfloat16)}
    base = copy_with(models(0), tmp_path / "base", zeros)
    given = {"base": base, "tuned": [adapters(1, **ATTENTION)], "lambdas": [0.5]}
    merge("linear", **given, out=tmp_path / "out")
    assert torch.signbit(weights(tmp_path / "out")["model.norm.weight"]).all()


def test_frozen_tensors_and_blocks_of_a_whole_model(tmp_path, models, computed, monkeypatch):
    """The kind of an adapter on q and v, from two files: most of an embedding was frozen."""
    embedding = weights(models(0))["model.embed_tokens.weight"].clone()
    embedding[-10:] += 0.5
    norm = weights(models(1))["model.norm.weight"]
    changes = {"model.embed_tokens.weight": embedding, "model.norm.weight": norm}
    tuned = copy_with(models(0), tmp_path / "tuned", changes)
    given = {"base": models(0), "tuned": [tuned], "lambdas": [0.3, 0.6]}
    merge("linear", **given, out=tmp_path / "out")
    # Of 1,024 elements the last 160 changed: of blocks of 100 the last three.
    assert computed == {"model.embed_tokens.weight": 3, "model.norm.weight": 1}
    compute_all(monkeypatch)
    merge("linear", **given, out=tmp_path / "computed")
    for name in ("lambda-0.3", "lambda-0.6"):
        assert essence(tmp_path / "out" / name) == essence(tmp_path / "computed" / name)
        verify(tmp_path / "out" / name)


def test_the_same_digest_of_other_bytes_is_no_copy(tmp_path, models, monkeypatch):
    monkeypatch.setattr("merge.engine.run.digest", lambda data: b"0" * 16)
    given = {"base": models(0), "tuned": [models(1)], "lambdas": [1]}
    merge("linear", **given, out=tmp_path / "out")
    ours, tuned = weights(tmp_path / "out"), weights(models(1))
    assert all(torch.equal(ours[name], value) for name, value in tuned.items())


@pytest.mark.parametrize("frozen", [True, False])
def test_weights_that_scale_the_base_copy_nothing(tmp_path, models, adapters, frozen):
    tuned = models(0) if frozen else adapters(1, **ATTENTION)
    recipe = build_recipe(
        method="linear",
        base=str(models(0)),
        tuned=[{"model": str(tuned), "parameters": {"weight": 0.5}}],
        parameters={"normalize": False},
        lambdas=[1.0],
    )
    merge_recipe(recipe, tmp_path / "out")
    merged, base = weights(tmp_path / "out"), weights(models(0))
    for name in ("model.norm.weight", "model.layers.0.self_attn.k_proj.weight"):
        torch.testing.assert_close(merged[name], base[name] / 2, rtol=2**-8, atol=0)


def test_trimming_over_the_model_counts_what_is_unchanged(tmp_path, models, adapters, monkeypatch):
    given = {
        "base": models(0),
        "tuned": [adapters(1, **ATTENTION)],
        "parameters": {"density": 0.2, "whole_model": 1},
    }
    merge("ties", **given, out=tmp_path / "out")
    compute_all(monkeypatch)
    merge("ties", **given, out=tmp_path / "computed")
    assert essence(tmp_path / "out") == essence(tmp_path / "computed")


@pytest.mark.parametrize("place", ["adapter", "frozen"])
def test_nan_in_what_is_copied_is_refused(tmp_path, models, adapters, place):
    broken = {"model.norm.weight": torch.full((16,), float("nan"), dtype=torch.bfloat16)}
    base = copy_with(models(0), tmp_path / "base", broken)
    tuned = adapters(1, **ATTENTION)
    if place == "frozen":
        tuned = copy_with(models(1), tmp_path / "tuned", broken)
    given = {"base": base, "tuned": [tuned], "lambdas": [0.5]}
    with pytest.raises(MergeError, match=r"base/model.safetensors: tensor model.norm.weight holds"):
        merge("linear", **given, out=tmp_path / "out")
    options = Options(allow_nonfinite=True)
    merge("linear", **given, out=tmp_path / "out", options=options)
    assert weights(tmp_path / "out")["model.norm.weight"].isnan().all()


def test_an_output_of_another_type(tmp_path, models, adapters):
    given = {"base": models(0), "tuned": [adapters(1, **ATTENTION)], "lambdas": [0.5]}
    merge("linear", **given, dtype="float32", out=tmp_path / "out")
    merged, base = weights(tmp_path / "out"), weights(models(0))
    assert {tensor.dtype for tensor in merged.values()} == {torch.float32}
    assert torch.equal(merged["lm_head.weight"], base["lm_head.weight"].float())


def test_a_method_of_ones_own_is_computed_unless_it_says_so(
    tmp_path, models, computed, monkeypatch
):
    monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))
    own = tmp_path / "own.py"
    own.write_text(
        "from merge.methods import Method\n"
        "class Doubled(Method):\n"
        "    name, takes_lambda = 'doubled', False\n"
        "    def merge(self, block, values, lambdas, totals):\n"
        "        yield block.base * 2\n"
    )
    merge(f"{own}:Doubled", base=models(0), tuned=[models(0)], out=tmp_path / "out")
    merged, base = weights(tmp_path / "out"), weights(models(0))
    assert all(torch.equal(merged[name], 2 * value) for name, value in base.items())
