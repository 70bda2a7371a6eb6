"""Slices of layers with parameters of their own, as mergekit reads them."""

import json

import pytest
import torch
import yaml
from merge_models import copy_with, doubles, edit_json, weights

from merge import MergeError, merge_recipe
from merge.recipe.mergekit_yaml import load_recipe, parse_recipe


def run(tmp_path, recipe):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    merge_recipe(load_recipe(tmp_path / "recipe.yaml"), tmp_path / "out")
    return weights(tmp_path / "out")


def source(model, span, **parameters):
    return {"model": str(model), "layer_range": span} | (
        {"parameters": parameters} if parameters else {}
    )


@pytest.fixture
def deep(models):
    """Return three models of four layers."""
    return [models(seed, num_hidden_layers=4) for seed in range(3)]


def at(name, first, layers, last):
    """Return the value for a tensor: before the layers, in one of them, or behind them."""
    if "embed" in name:
        return first
    return layers[int(name.split(".")[2])] if ".layers." in name else last


def test_sources_gradients_run_within_their_slice(tmp_path, deep):
    """Three layers and one: outside the layers the gradient's first value of the slice beside."""
    merged = run(
        tmp_path,
        {
            "merge_method": "linear",
            "dtype": "float32",
            "slices": [
                {
                    "sources": [
                        source(deep[0], [0, 3], weight=1),
                        source(deep[1], [0, 3], weight=[0.5, 1.5]),
                    ]
                },
                {
                    "sources": [
                        source(deep[1], [3, 4], weight=[0.25, 3]),
                        source(deep[0], [3, 4], weight=1),
                    ]
                },
            ],
        },
    )
    one, two = doubles(deep[0]), doubles(deep[1])
    for name, value in merged.items():
        weight = at(name, 0.5, [0.5, 1.0, 1.5, 3], 0.25)
        exact = (one[name] + weight * two[name]) / (1 + weight)
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-7)


def test_a_slices_parameters_and_the_recipes(tmp_path, deep):
    """A source's value counts before its slice's, and that before the recipe's; filters too."""
    base, one, two = map(str, deep)
    merged = run(
        tmp_path,
        {
            "merge_method": "task_arithmetic",
            "base_model": base,
            "dtype": "float32",
            "parameters": {"weight": 0.5, "lambda": [1, 0.5]},
            "slices": [
                {
                    "sources": [source(base, [0, 2]), source(one, [0, 2]), source(two, [0, 2])],
                    "parameters": {"weight": [{"filter": "mlp", "value": 0.2}, {"value": 0.4}]},
                },
                {
                    "sources": [
                        source(base, [2, 4]),
                        source(one, [2, 4]),
                        source(two, [2, 4], weight=-1),
                    ],
                },
            ],
        },
    )
    start, *tuned = (doubles(folder) for folder in deep)
    deltas = [{name: each[name] - start[name] for name in start} for each in tuned]
    for name, value in merged.items():
        early = 0.2 if "mlp" in name else 0.4
        weights_ = at(name, (0.4, 0.4), [(early, early)] * 2 + [(0.5, -1)] * 2, (0.5, -1))
        scale = at(name, 1, [1, 0.5] * 2, 1)
        change = sum(weight * delta[name] for weight, delta in zip(weights_, deltas, strict=True))
        torch.testing.assert_close(
            value.double(), start[name] + scale * change, rtol=1e-5, atol=1e-6
        )


def test_a_density_is_translated_in_every_slice(deep):
    base, one, _ = map(str, deep)
    recipe = parse_recipe(
        {
            "merge_method": "dare_linear",
            "base_model": base,
            "slices": [
                {"sources": [source(base, span), source(one, span, density=density)]}
                for span, density in (([0, 2], 0.75), ([2, 4], [1, 0.5]))
            ],
        }
    )
    first, last = recipe.tuned[0].parameters["drop_rate"]
    assert (first.layers, first.value) == ((0, 2), 0.25)
    assert (last.layers, last.value) == ((2, 4), [0.0, 0.5])


def linear(*slices):
    return {
        "merge_method": "linear",
        "slices": [
            {"sources": [source(model, span, weight=1) for model in models]}
            for models, span in slices
        ],
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (linear(("ab", [0, 2]), ("ab", [3, 4])), "the layers 0 to 2, 3 to 4; give all layers once"),
        (linear(("ab", [0, 2]), ("ab", [1, 3])), "the layers 0 to 2, 1 to 3"),
        (linear(("ab", [2, 4]), ("ab", [0, 2])), "the layers 2 to 4, 0 to 2"),
        (linear(("ab", [2, 2]), ("ab", [0, 2])), "need the same layer_range"),
        (linear(("ab", [0, 2]), ("ac", [2, 4])), "other models than the first"),
        (linear(("ab", [0, 2]), ("a", [2, 4])), "other models than the first"),
        (
            {
                "merge_method": "linear",
                "slices": [
                    {"sources": [source("a", [0, 2], weight=1), source("b", [0, 2], weight=1)]},
                    {"sources": [source("a", [2, 4], weight=1), source("b", [2, 4])]},
                ],
            },
            "some slices give weight and others do not",
        ),
        (
            {
                "merge_method": "linear",
                "slices": [{"sources": [source("a", [0, 2]), source("b", [0, 4])]}],
            },
            "need the same layer_range",
        ),
    ],
)
def test_slices_that_are_not_the_whole_model(document, message):
    with pytest.raises(MergeError, match=message):
        parse_recipe(document)


def test_slices_of_a_model_with_several_kinds_of_layers(tmp_path, deep):
    config = {"text_config": {"num_hidden_layers": 4, "model_type": "llama"}}
    both = []
    for number, folder in enumerate(deep[:2]):
        both.append(copy_with(folder, tmp_path / str(number), {}))
        edit_json(both[-1] / "config.json", **config)
    recipe = linear((both, [0, 2]), (both, [2, 4]))
    recipe["slices"][1]["sources"][1]["parameters"] = {"weight": 3}
    with pytest.raises(MergeError, match="give it filters in place of slices"):
        run(tmp_path, recipe)


def test_all_layers_of_a_model_that_sees(tmp_path, deep):
    """It has as many as its language model has."""
    parts = {
        "text_config": {"num_hidden_layers": 4, "model_type": "llama"},
        "vision_config": {"num_hidden_layers": 9},
    }
    both = []
    for number, folder in enumerate(deep[:2]):
        both.append(copy_with(folder, tmp_path / str(number), {}))
        path = both[-1] / "config.json"
        config = json.loads(path.read_text()) | parts
        del config["num_hidden_layers"]
        path.write_text(json.dumps(config))
    assert run(tmp_path, linear((both, [0, 4]))).keys() == doubles(deep[0]).keys()
    with pytest.raises(MergeError, match="layer_range ends at 9 and .* has 4 layers"):
        run(tmp_path, linear((both, [0, 9])))


def test_slices_end_where_the_model_does(tmp_path, deep):
    recipe = linear((deep[:2], [0, 2]), (deep[:2], [2, 5]))
    with pytest.raises(MergeError, match="layer_range ends at 5 and .* has 4 layers"):
        run(tmp_path, recipe)


def test_slices_of_a_model_with_two_stacks_of_layers(tmp_path, deep):
    """Whatever its configuration is like, as before transformers 4.52."""
    both = []
    for number, folder in enumerate(deep[:2]):
        tower = {
            name.replace("model.layers", "visual.blocks"): value
            for name, value in weights(folder).items()
            if "layers" in name
        }
        both.append(copy_with(folder, tmp_path / str(number), tower))
    recipe = linear((both, [0, 2]), (both, [2, 4]))
    recipe["slices"][1]["sources"][1]["parameters"] = {"weight": 3}
    with pytest.raises(MergeError, match="give it filters in place of slices"):
        run(tmp_path, recipe)


SPAN = {"model": "a", "layer_range": [0, 2]}


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([{"sources": [{"model": "a", "layer_range": 2}]}], "such as .0, 16."),
        ([{"sources": [{"model": "a", "layer_range": None}]}], "such as .0, 16."),
        ([{"sources": [{"model": "a", "layer_range": [[0], [2]]}]}], "such as .0, 16."),
        ([{"sources": [{"model": None, "layer_range": [0, 2]}]}], "entries with model"),
        ([{"sources": [SPAN], "parameters": ["weight"]}], "parameters by name"),
        ([{"sources": [{**SPAN, "parameters": "weight"}]}], "parameters by name"),
        ([{"sources": [SPAN, SPAN]}], "a is listed twice"),
        ([{"sources": []}], "with sources"),
    ],
)
def test_slices_of_another_shape(slices, message):
    with pytest.raises(MergeError, match=message):
        parse_recipe({"merge_method": "linear", "slices": slices})
