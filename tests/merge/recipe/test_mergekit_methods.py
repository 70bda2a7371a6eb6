"""mergekit's recipes for methods on spheres, and for those that keep a part of each delta."""

import pytest
import torch
from merge_models import doubles

from merge import MergeError, merge, merge_recipe
from merge.methods import describe_methods
from merge.recipe.mergekit_yaml import parse_recipe
from merge.recipe.tensor_settings import Place


def document(method, *models, base=None, **parameters):
    recipe = {
        "merge_method": method,
        "models": [{"model": str(model)} for model in models],
        "parameters": parameters,
    }
    return recipe | ({"base_model": str(base)} if base else {})


@pytest.mark.parametrize("method", ["nuslerp", "multislerp"])
def test_with_a_base_it_is_deltas_and_without_it_weights(method):
    recipe = parse_recipe(document(method, "a", "b", base="c"))
    assert (recipe.base, [model.model for model in recipe.tuned]) == ("c", ["a", "b"])
    assert recipe.values_at(Place("", 0.0))["on_deltas"] is True
    recipe = parse_recipe(document(method, "c", "a", "b", base="c"))
    assert [model.model for model in recipe.tuned] == ["a", "b"]
    recipe = parse_recipe(document(method, "a", "b"))
    assert (recipe.base, [model.model for model in recipe.tuned]) == ("a", ["a", "b"])
    assert recipe.values_at(Place("", 0.0))["on_deltas"] is False


def test_karchers_base_is_one_of_the_models():
    for models, base in ((("a", "b", "c"), None), (("a", "b", "c"), "a"), (("b", "c"), "a")):
        recipe = parse_recipe(document("karcher", *models, base=base))
        assert (recipe.base, [model.model for model in recipe.tuned]) == ("a", ["b", "c"])


def test_models_without_a_base_are_not_counted_twice(tmp_path, models):
    folders = [models(seed, "float32") for seed in range(3)]
    merge_recipe(parse_recipe(document("multislerp", *folders, eps=1e-6)), tmp_path / "weights")
    name = "model.layers.1.mlp.up_proj.weight"
    points = torch.stack([doubles(folder)[name].flatten() for folder in folders])
    mean = (points / points.norm(dim=1, keepdim=True)).mean(0)
    merged = doubles(tmp_path / "weights")[name].flatten()
    # The mean is on the sphere, and in the plane of the directions' mean to first order.
    assert float(merged.norm()) == pytest.approx(float(points.norm(dim=1).mean()), rel=1e-3)
    assert float(torch.cosine_similarity(merged, mean, dim=0)) > 0.999


KEPT = {"weight": 1.0, "density": 1.0, "gamma": 0.01, "normalize": False, "rescale": False}


@pytest.mark.parametrize(
    ("method", "defaults"),
    [
        ("karcher", {"max_iter": 10, "tol": 1e-5}),
        ("nuslerp", {"nuslerp_flatten": True, "nuslerp_row_wise": False, "on_deltas": True}),
        ("multislerp", {"normalize_weights": True, "eps": 1e-8, "on_deltas": True, "weight": 1.0}),
        ("breadcrumbs", KEPT),
        ("breadcrumbs-ties", KEPT),
    ],
)
def test_defaults_are_mergekits(method, defaults):
    [found] = [each for each in describe_methods() if each.name == method]
    assert {each.name: each.default for each in found.parameters}.items() >= defaults.items()


@pytest.mark.parametrize("method", ["breadcrumbs", "breadcrumbs_ties", "della", "della_linear"])
def test_defaults_keep_everything(tmp_path, models, method):
    base, tuned = models(0, "float32"), models(1, "float32")
    recipe = parse_recipe(document(method, base, tuned, base=base, weight=0.5))
    merge_recipe(recipe, tmp_path / "out")
    share = 1.0 if method == "della" else 0.5
    for name, value in doubles(tmp_path / "out").items():
        start, end = doubles(base)[name], doubles(tuned)[name]
        torch.testing.assert_close(value, start + share * (end - start), rtol=1e-6, atol=1e-7)


def test_a_recipe_and_flags_are_one(tmp_path, models):
    given = {"density": 0.5, "gamma": 0.1, "weight": 0.7, "lambda": 0.8}
    recipe = parse_recipe(document("breadcrumbs", models(1), base=models(0), **given))
    merge_recipe(recipe, tmp_path / "recipe")
    merge(
        "breadcrumbs", base=models(0), tuned=[models(1)], parameters=given, out=tmp_path / "flags"
    )
    flags = doubles(tmp_path / "flags")
    assert all(
        torch.equal(value, flags[name]) for name, value in doubles(tmp_path / "recipe").items()
    )


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            document("karcher", "a", "b", weight=1),
            "karcher has no weight, .*all models count alike",
        ),
        (document("sce", "a", base="b", weight=1), "sce has no weight, .*follows from its delta"),
        (document("arcee_fusion", "a", base="b", weight=1), "arcee-fusion has no weight"),
        (document("nearswap", "a", base="b"), "nearswap needs t .*; give --set t=…"),
        (document("nuslerp", "a"), "nuslerp takes 2 fine-tuned models, the recipe has 1"),
        (document("breadcrumbs", "a"), "breadcrumbs needs a base model"),
        (document("della", "a", base="b", weight=-1), "della with normalize has a negative weight"),
        (
            document("breadcrumbs_ties", "a", base="b", weight=-1, normalize=True),
            "breadcrumbs-ties with normalize has a negative weight",
        ),
        (document("ram", "a", base="b"), "ram is a method of mergekit's that there is not here"),
    ],
)
def test_refused(recipe, message):
    with pytest.raises(MergeError, match=message):
        parse_recipe(recipe)


@pytest.mark.parametrize("method", ["breadcrumbs_ties", "della_linear", "breadcrumbs"])
def test_negative_weights_without_that_division(method):
    parse_recipe(document(method, "a", base="b", weight=-1))
