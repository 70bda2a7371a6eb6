"""Recipes: mergekit's schema, settings that vary over the model, and what is refused."""

import pytest
import torch
from merge_models import doubles, weights

from merge import MergeError, build_recipe, merge, merge_recipe
from merge.recipe.mergekit_yaml import load_recipe, parse_recipe


def run(tmp_path, text, name="out"):
    path = tmp_path / f"{name}.yaml"
    path.write_text(text)
    merge_recipe(load_recipe(path), tmp_path / name)
    return weights(tmp_path / name)


def test_linear_is_the_weighted_mean(tmp_path, models):
    merged = run(
        tmp_path,
        f"""
        merge_method: linear
        dtype: float32
        models:
          - {{model: {models(0)}, parameters: {{weight: 3}}}}
          - {{model: {models(1)}, parameters: {{weight: 1}}}}
          - {{model: {models(2)}, parameters: {{weight: 1}}}}
        """,
    )
    one, two, three = (doubles(models(seed)) for seed in range(3))
    for name, tensor in merged.items():
        assert tensor.dtype == torch.float32
        exact = (3 * one[name] + two[name] + three[name]) / 5
        torch.testing.assert_close(tensor.double(), exact, rtol=1e-6, atol=1e-8)


def test_slerp_over_slices_with_gradients(tmp_path, models):
    """The form mergekit's own example has: one slice, gradients by filter."""
    merged = run(
        tmp_path,
        f"""
        slices:
          - sources:
              - {{model: {models(0)}, layer_range: [0, 2]}}
              - {{model: {models(1)}, layer_range: [0, 2]}}
        merge_method: slerp
        base_model: {models(0)}
        parameters:
          t:
            - {{filter: self_attn, value: [0, 1]}}
            - {{filter: "*.mlp.*", value: [1, 0]}}
            - {{value: 0.5}}
        dtype: bfloat16
        """,
    )
    base, tuned = weights(models(0)), weights(models(1))
    for layer, (attention, mlp) in enumerate([(base, tuned), (tuned, base)]):
        prefix = f"model.layers.{layer}"
        name = f"{prefix}.self_attn.q_proj.weight"
        torch.testing.assert_close(merged[name], attention[name], rtol=0.01, atol=1e-4)
        name = f"{prefix}.mlp.up_proj.weight"
        torch.testing.assert_close(merged[name], mlp[name], rtol=0.01, atol=1e-4)
    assert not torch.equal(merged["lm_head.weight"], base["lm_head.weight"])


def test_density_is_one_minus_the_drop_rate(tmp_path, models):
    merged = run(
        tmp_path,
        f"""
        merge_method: dare_linear
        base_model: {models(0)}
        models:
          - {{model: {models(0)}}}
          - {{model: {models(1)}, parameters: {{weight: 0.5, density: 0.75}}}}
        parameters: {{int8_mask: true}}
        seed: 4
        """,
    )
    merge(
        "dare-linear",
        base=models(0),
        tuned=[models(1)],
        lambdas=[0.5],
        parameters={"drop_rate": 0.25},
        seed=4,
        out=tmp_path / "flags",
    )
    flags = weights(tmp_path / "flags")
    assert all(torch.equal(merged[name], flags[name]) for name in flags)


def test_weights_over_depth(tmp_path, models):
    recipe = build_recipe(
        method="task-arithmetic",
        base=str(models(0)),
        tuned=[{"model": str(models(1)), "parameters": {"weight": [0.0, 1.0]}}],
    )
    merge_recipe(recipe, tmp_path / "out")
    merged, base, tuned = (weights(path) for path in (tmp_path / "out", models(0), models(1)))
    first, last = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
    assert torch.equal(merged[first], base[first])
    torch.testing.assert_close(merged[last], tuned[last])


def test_several_lambdas_from_a_recipe(tmp_path, models):
    run(
        tmp_path,
        f"""
        merge_method: linear
        base_model: {models(0)}
        models: [{{model: {models(1)}}}]
        lambdas: [0.2, 0.4]
        """,
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"lambda-0.2", "lambda-0.4"}


MODELS = [{"model": "a"}, {"model": "b"}]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "is a mapping"),
        ({"models": MODELS}, "merge_method is missing"),
        ({"merge_method": "linear", "model": MODELS}, "unknown key model; did you mean models?"),
        ({"merge_method": "passthrough", "models": MODELS}, "no merge method 'passthrough'"),
        (
            {"merge_method": "ties", "base_model": "a", "models": MODELS},
            "needs density",
        ),
        (
            {"merge_method": "linear", "models": [{"model": "a", "weight": 1}]},
            "unknown key weight",
        ),
        (
            {"merge_method": "linear", "models": MODELS, "parameters": {"wieght": 1}},
            "did you mean weight?",
        ),
        (
            {"merge_method": "linear", "models": MODELS, "parameters": {"weight": "high"}},
            "the parameter weight is 'high'",
        ),
        ({"merge_method": "linear", "models": MODELS, "tokenizer_source": "union"}, "union"),
        ({"merge_method": "linear", "models": MODELS, "chat_template": "chatml"}, "remove it"),
        ({"merge_method": "linear", "models": MODELS, "dtype": "int4"}, "dtype is 'int4'"),
        (
            {
                "merge_method": "slerp",
                "base_model": "a",
                "slices": [{"sources": [{"model": "b", "layer_range": [2, 4]}]}],
            },
            "layer_range must be",
        ),
        ({"merge_method": "slerp", "base_model": "a", "models": MODELS}, "needs λ"),
    ],
)
def test_bad_recipes(document, message):
    with pytest.raises(MergeError, match=message):
        parse_recipe(document)


def test_recipe_that_is_no_yaml(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(MergeError, match=r"bad.yaml cannot be read as YAML"):
        load_recipe(tmp_path / "bad.yaml")


def test_layer_range_must_be_the_whole_model(tmp_path, models):
    sources = [{"model": str(models(seed)), "layer_range": [0, 3]} for seed in (0, 1)]
    document = {
        "merge_method": "slerp",
        "base_model": str(models(0)),
        "slices": [{"sources": sources}],
        "parameters": {"t": 0.5},
    }
    with pytest.raises(MergeError, match=r"layer_range ends at 3 .* has 2 layers"):
        merge_recipe(parse_recipe(document), tmp_path / "out")
