"""Recipes: mergekit's schema, settings that vary over the model, and what is refused."""

import pytest
import torch
from merge_models import copy_with, doubles, weights
from method_references import reference_elect, subtract

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
            - {{filter: .mlp., value: [1, 0]}}
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
        (
            {"merge_method": "passthrough", "models": MODELS},
            "passthrough is a method",
        ),
        ({"merge_method": "ramplus_tl", "models": MODELS}, "ramplus_tl is a method of mergekit's"),
        (
            {"merge_method": "ties", "base_model": "a", "models": [{"model": "b"}], "density": 1},
            "unknown key density",
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
        (
            {"merge_method": "linear", "models": MODELS, "chat_template": "chatml"},
            "write base, tuned",
        ),
        ({"merge_method": "linear", "models": MODELS, "dtype": "int4"}, "dtype is 'int4'"),
        (
            {
                "merge_method": "slerp",
                "base_model": "a",
                "slices": [{"sources": [{"model": "b", "layer_range": [2, 4]}]}],
            },
            "the slices have the layers 2 to 4",
        ),
        ({"merge_method": "slerp", "base_model": "a", "models": MODELS}, "needs λ"),
    ],
)
def test_bad_recipes(document, message):
    with pytest.raises(MergeError, match=message):
        parse_recipe(document)


def deltas(models, count):
    base = doubles(models(0))
    return base, [subtract(doubles(models(seed)), base) for seed in range(1, count + 1)]


@pytest.mark.parametrize("method", ["dare_ties", "ties"])
def test_everything_is_kept_unless_the_recipe_says_otherwise(tmp_path, models, method):
    """mergekit's own defaults: density 1, and dare_ties does not divide by the weights."""
    merged = run(
        tmp_path,
        f"""
        merge_method: {method}
        base_model: {models(0)}
        dtype: float32
        models:
          - {{model: {models(1)}, parameters: {{weight: 0.6}}}}
          - {{model: {models(2)}, parameters: {{weight: 0.4}}}}
        """,
    )
    base, tuned = deltas(models, 2)
    for name, tensor in merged.items():
        kept = [delta[name] for delta in tuned]
        elected = reference_elect(kept, [0.6, 0.4], normalize=method == "ties")
        torch.testing.assert_close(tensor.double(), base[name] + elected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("normalize", [None, False])
def test_ties_with_one_model_divides_its_weight_out_as_mergekit_does(tmp_path, models, normalize):
    given = "" if normalize is None else "normalize: false"
    merged = run(
        tmp_path,
        f"""
        merge_method: ties
        base_model: {models(0)}
        dtype: float32
        models: [{{model: {models(1)}, parameters: {{weight: 0.5, density: 1}}}}]
        parameters: {{{given}}}
        """,
    )
    base, [delta] = deltas(models, 1)
    scale = 1.0 if normalize is None else 0.5
    for name, tensor in merged.items():
        exact = base[name] + scale * delta[name]
        torch.testing.assert_close(tensor.double(), exact, rtol=1e-5, atol=1e-7)


def test_a_base_beside_linears_models_is_averaged_with_them(tmp_path, models):
    merged = run(
        tmp_path,
        f"""
        merge_method: linear
        base_model: {models(0)}
        dtype: float32
        models: [{{model: {models(1)}}}, {{model: {models(2)}}}]
        parameters: {{weight: 0.3}}
        """,
    )
    parts = [doubles(models(seed)) for seed in range(3)]
    for name, tensor in merged.items():
        exact = sum(part[name] for part in parts) / 3
        torch.testing.assert_close(tensor.double(), exact, rtol=1e-5, atol=1e-7)


def test_a_base_beside_linears_models_without_a_weight(models):
    document = {
        "merge_method": "linear",
        "base_model": "c",
        "models": [{"model": "a", "parameters": {"weight": 1}}],
    }
    with pytest.raises(MergeError, match="base_model c is one of the models that are averaged"):
        parse_recipe(document)


@pytest.mark.parametrize("method", ["dare_linear", "task_arithmetic", "dare_ties"])
def test_a_gradient_of_weights_that_starts_at_zero(tmp_path, models, method):
    """The form of mergekit's own example; its first layer is the base's."""
    merged = run(
        tmp_path,
        f"""
        merge_method: {method}
        base_model: {models(0)}
        models: [{{model: {models(1)}, parameters: {{weight: [0, 0.5, 1]}}}}]
        """,
    )
    base, tuned = weights(models(0)), weights(models(1))
    first, last = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
    assert torch.equal(merged[first], base[first])
    torch.testing.assert_close(merged[last], tuned[last])


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_rescaling_can_be_left_out(tmp_path, models, method, rescale):
    merged = run(
        tmp_path,
        f"""
        merge_method: {method}
        base_model: {models(0)}
        dtype: float32
        models: [{{model: {models(1)}, parameters: {{density: 0.5}}}}]
        parameters: {{rescale: {str(rescale).lower()}}}
        """,
    )
    base, [delta] = deltas(models, 1)
    ratio = (merged["lm_head.weight"].double() - base["lm_head.weight"]) / delta["lm_head.weight"]
    kept = ratio[ratio.abs() > 0.5]
    torch.testing.assert_close(
        kept, torch.full_like(kept, 2.0 if rescale else 1.0), rtol=1e-3, atol=1e-3
    )
    assert 0.3 < len(kept) / ratio.numel() < 0.7


def test_models_in_mergekits_long_form(tmp_path, models, adapters):
    document = {
        "merge_method": "task_arithmetic",
        "base_model": {"model": {"path": str(models(0))}},
        "models": [
            {"model": {"model": {"path": str(models(0))}, "lora": {"path": str(adapters(1))}}},
            {"model": {"model": "lab/name", "lora": {"path": "lab/adapter", "revision": "v2"}}},
            {"model": {"model": {"path": "lab/name", "revision": "v1"}}},
        ],
    }
    recipe = parse_recipe(document)
    assert recipe.base == str(models(0))
    assert [model.model for model in recipe.tuned] == [
        f"{models(0)}+{adapters(1)}",
        "lab/name+lab/adapter@v2",
        "lab/name@v1",
    ]


def recipe_of(method="task_arithmetic", **keys):
    return {"merge_method": method, "base_model": "a", "models": MODELS, **keys}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (recipe_of(tokenizer={"source": "base", "tokens": {"<a>": {"source": "b"}}}), "tokens"),
        (recipe_of(tokenizer={"source": "base", "pad_to_multiple_of": 64}), "pad_to_multiple_of"),
        (recipe_of(tokenizer={"sauce": "base"}), "tokenizer has an unknown key sauce"),
        (
            recipe_of(parameters={"weight": [{"filter": "*.mlp.*", "value": 1}, {"value": 0}]}),
            "a part of tensors' names and no pattern",
        ),
        (recipe_of("ties", parameters={"weight": -0.5}), "has a negative weight"),
        (recipe_of("ties", parameters={"weight": [1, -1]}), "has a negative weight"),
        (
            recipe_of(
                "ties", parameters={"weight": [{"filter": "mlp", "value": -1}, {"value": 1}]}
            ),
            "has a negative weight",
        ),
        (
            recipe_of("dare_ties", parameters={"weight": -0.5, "normalize": True}),
            "has a negative weight",
        ),
        (recipe_of(models=[{"model": {"path": "b"}}]), "a model has an unknown key path"),
        (
            recipe_of(models=[{"model": {"model": {"path": "b", "branch": "x"}}}]),
            "unknown key branch",
        ),
        (
            {
                "merge_method": "slerp",
                "base_model": "a",
                "models": [{"model": "b", "parameters": {"weight": 0.4}}],
                "parameters": {"t": 0.5},
            },
            "slerp has no weight, which mergekit leaves out of account there.*: t says",
        ),
        (
            recipe_of("model_stock", parameters={"weight": 0.5}),
            "model-stock has no weight, .*: how much of the base there is follows from the models",
        ),
        (
            recipe_of("model_stock", parameters={"filter_wise": True}),
            "filter_wise asks for a share of its own in each row",
        ),
        (recipe_of(tokenizer={"source": "union"}), "takes the base's padding away"),
    ],
)
def test_what_would_mean_something_else_is_refused(document, message):
    with pytest.raises(MergeError, match=message):
        parse_recipe(document)


def test_negative_weights_that_are_not_divided_by(tmp_path, models):
    merged = run(
        tmp_path,
        f"""
        merge_method: ties
        base_model: {models(0)}
        dtype: float32
        models:
          - {{model: {models(1)}, parameters: {{weight: 1}}}}
          - {{model: {models(2)}, parameters: {{weight: -0.5}}}}
        parameters: {{normalize: false}}
        """,
    )
    base, tuned = deltas(models, 2)
    for name, tensor in merged.items():
        elected = reference_elect([delta[name] for delta in tuned], [1, -0.5], normalize=False)
        torch.testing.assert_close(tensor.double(), base[name] + elected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("t", ["[0.5, 0.5]", "[{filter: mlp, value: 0.2}, {value: 0.5}]", "0.5"])
def test_slerp_takes_one_model_whatever_form_t_has(tmp_path, models, t):
    text = f"""
        merge_method: slerp
        base_model: {models(0)}
        models: [{{model: {models(1)}}}, {{model: {models(2)}}}]
        parameters: {{t: {t}}}
        """
    with pytest.raises(MergeError, match=r"takes 1 --tuned, the recipe has 2"):
        run(tmp_path, text)


@pytest.mark.parametrize(
    ("method", "more"), [("linear", "{}"), ("task_arithmetic", "{normalize: true}")]
)
def test_weights_that_cancel_have_no_mean(tmp_path, models, method, more):
    text = f"""
        merge_method: {method}
        base_model: {models(0)}
        models:
          - {{model: {models(1)}, parameters: {{weight: [0.5, 1]}}}}
          - {{model: {models(2)}, parameters: {{weight: [-0.5, 1]}}}}
        parameters: {more}
        lambdas: [1]
        """
    with pytest.raises(MergeError, match=r"the weights 0.5, -0.5 add up to 0.*lm_head"):
        run(tmp_path, text)


def test_the_most_frequent_chat_template(tmp_path, models):
    folders = [copy_with(models(seed), tmp_path / str(seed), {}) for seed in range(3)]
    for folder in folders[1:]:
        (folder / "chat_template.jinja").write_text("other")

    def template(*chosen):
        entries = ", ".join(f"{{model: {folder}}}" for folder in chosen)
        out = f"out{len(chosen)}"
        run(
            tmp_path,
            f"{{merge_method: task_arithmetic, base_model: {folders[0]}, models: [{entries}], "
            f"chat_template: auto}}",
            out,
        )
        return (tmp_path / out / "chat_template.jinja").read_text()

    assert template(*folders[1:]) == "other"
    with pytest.raises(MergeError, match="no template is more frequent"):
        template(folders[1])


def test_a_file_with_several_recipes(tmp_path):
    (tmp_path / "two.yaml").write_text("merge_method: linear\n---\nmerge_method: slerp\n")
    with pytest.raises(MergeError, match="holds 2 recipes, and a file is one merge"):
        load_recipe(tmp_path / "two.yaml")


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


@pytest.mark.parametrize(("weights_", "scale"), [((0.75, 0.5), 1.0), ((0.5, -0.5), 0.4)])
def test_a_linear_sum_that_is_no_mean(tmp_path, models, weights_, scale):
    """Without normalize the models' weighted sum counts, whatever the weights add up to."""
    lambdas = "" if scale == 1 else f"lambdas: {scale}"
    merged = run(
        tmp_path,
        f"""
        merge_method: linear
        dtype: float32
        base_model: {models(0)}
        {lambdas}
        parameters: {{normalize: false}}
        models:
          - {{model: {models(1)}, parameters: {{weight: {weights_[0]}}}}}
          - {{model: {models(2)}, parameters: {{weight: {weights_[1]}}}}}
          - {{model: {models(0)}, parameters: {{weight: 0}}}}
        """,
    )
    base, one, two = (doubles(models(seed)) for seed in range(3))
    for name, tensor in merged.items():
        total = weights_[0] * one[name] + weights_[1] * two[name]
        exact = (1 - scale) * base[name] + scale * total
        torch.testing.assert_close(tensor.double(), exact, rtol=1e-5, atol=1e-6)


def test_a_sum_that_is_no_mean_is_no_adapter(tmp_path, models, adapters):
    with pytest.raises(MergeError, match="is no LoRA adapter"):
        merge(
            "linear",
            base=models(0),
            tuned=[adapters(1), adapters(2)],
            lambdas=[1],
            parameters={"normalize": False},
            output="adapter",
            out=tmp_path / "out",
        )
