"""λ for halves or thirds of the layers."""

import json

import pytest
from merge_models import assert_rounded, doubles, weights

from merge import MergeError, build_recipe, merge, merge_recipe
from merge.output.manifest import read_manifest
from merge.recipe.layer_groups import at_group
from merge.recipe.tensor_settings import places
from tests.command_line import CommandLine

HALVES = {"late": 0.8, "early": 0.2}
THIRDS = {"early": 0.1, "middle": 0.5, "late": 0.9}


def at_layers(given, count):
    named = places([f"model.layers.{layer}.w" for layer in range(count)])
    return [at_group(given, place) for place in named.values()]


def test_layers_are_divided_evenly():
    assert at_layers(HALVES, 4) == [0.2, 0.2, 0.8, 0.8]
    assert at_layers(HALVES, 5) == [0.2, 0.2, 0.8, 0.8, 0.8]
    assert at_layers(THIRDS, 6) == [0.1, 0.1, 0.5, 0.5, 0.9, 0.9]
    assert at_layers(THIRDS, 32).count(0.5) == 10


def test_what_is_outside_the_layers():
    named = places(
        ["model.embed_tokens.weight", "transformer.wte.weight", "model.norm.weight",
         "lm_head.weight", "embed_out.weight", "model.layers.0.w", "model.layers.1.w"]
    )  # fmt: skip
    found = [at_group(HALVES, place) for place in list(named.values())[:5]]
    assert found == [0.2, 0.2, 0.8, 0.8, 0.8]


PARTS = {"attention": 0.3, "mlp": 0.7}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.layers.0.self_attn.q_proj.weight", 0.3),
        ("transformer.h.0.attn.c_attn.weight", 0.3),
        ("gpt_neox.layers.0.attention.query_key_value.weight", 0.3),
        ("model.layers.1.linear_attn.in_proj.weight", 0.3),
        ("gpt_neox.layers.0.post_attention_layernorm.weight", 0.7),
        ("model.layers.0.mlp.up_proj.weight", 0.7),
        ("model.embed_tokens.weight", 0.7),
    ],
)
def test_attention_and_what_is_none(name, value):
    assert at_group(PARTS, places([name])[name]) == value


def test_attention_has_a_weight_of_its_own(tmp_path, models):
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[PARTS], out=tmp_path / "out")
    base, tuned = doubles(models(0)), doubles(models(1))
    for name, tensor in weights(tmp_path / "out").items():
        share = 0.3 if ".self_attn." in name else 0.7
        assert_rounded(tensor, base[name] + share * (tuned[name] - base[name]))


def test_several_in_one_pass(tmp_path, models):
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[HALVES, 0.5], out=tmp_path / "out")
    base, tuned = doubles(models(0)), doubles(models(1))
    folder = tmp_path / "out/lambda-late-0.8-early-0.2"
    for name, tensor in weights(folder).items():
        early = "embed_tokens" in name or ".layers.0." in name
        assert_rounded(tensor, base[name] + (0.2 if early else 0.8) * (tuned[name] - base[name]))
    for name, tensor in weights(tmp_path / "out/lambda-0.5").items():
        assert_rounded(tensor, base[name] / 2 + tuned[name] / 2)
    assert read_manifest(folder)["lambda"] == HALVES


def test_a_half_that_stays_the_base_keeps_its_bits(tmp_path, models):
    recipe = build_recipe(
        method="linear",
        base=str(models(0)),
        tuned=[{"model": str(models(1))}],
        lambdas=[{"early": 0, "late": 1}],
    )
    merge_recipe(recipe, tmp_path / "out")
    sources = {True: weights(models(0)), False: weights(models(1))}
    for name, tensor in weights(tmp_path / "out").items():
        early = "embed_tokens" in name or ".layers.0." in name
        assert tensor.equal(sources[early][name]), name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"early": 0.2}, "λ is given for early; give it for early and late, the halves"),
        ({"early": 0.2, "middle": 0.2}, "λ is given for early, middle; give it"),
        ({"early": 0.2, "last": 0.2}, "λ is given for early, last; give it"),
        ({"early": 0.2, "mlp": 0.2}, "or for attention and mlp."),
        ({"early": 0.2, "late": 1.5}, "λ is 1.5; for linear it must lie between 0 and 1"),
        ({"early": "x", "late": 1}, "lambdas"),
    ],
)
def test_bad_groups(given, message):
    with pytest.raises(MergeError, match=message):
        build_recipe(method="linear", base="a", tuned=[{"model": "b"}], lambdas=[given])


def test_from_the_command_line(tmp_path, models, monkeypatch, capsys):
    run = CommandLine(monkeypatch, capsys, tmp_path)
    arguments = ["merge", "--method", "linear", "--base", models(0), "--tuned", models(1)]
    several = ["--lambda", "0.1,0.3", "--lambda", "early=0.2,late=0.8"]
    done = run(*arguments, *several, "--out", "out", "--json")
    names = [folder.rpartition("/")[2] for folder in json.loads(done.out)["written"]]
    assert names == ["lambda-0.1", "lambda-0.3", "lambda-early-0.2-late-0.8"]
    card = (tmp_path / "out" / names[2] / "README.md").read_text()
    assert "λ = 0.2 (early), 0.8 (late)" in card
    for bad in ("early=0.2,0.8", "early=0.2,early=0.3"):
        done = run(*arguments, "--lambda", bad, "--out", "other")
        assert done.status == 2
        assert f"--lambda {bad} mixes numbers and groups of layers" in done.err
