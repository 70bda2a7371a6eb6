"""What methods share that keep a part of each delta: lengths, weights and λ."""

import pytest
import torch
from merge_models import copy_with, doubles, weights

from merge import MergeError, build_recipe, merge
from merge.methods.math.adding_up import same_l1
from merge.recipe.tensor_settings import Place


def test_what_is_kept_gets_the_delta_s_length_back_unless_there_is_next_to_none():
    kept = torch.tensor([1.0, -0.5, 0.0])
    assert torch.equal(same_l1(kept, 3.0, 1.5), 2 * kept)
    assert torch.equal(same_l1(kept, 2e-7, 1e-7), 2 * kept)
    assert torch.equal(same_l1(kept, 1.0, 9e-8), kept)
    assert torch.equal(same_l1(kept, 9e-8, 1.0), kept)


def recipe(method, own, **parameters):
    tuned = [{"model": str(n), "parameters": {"weight": weight}} for n, weight in enumerate(own)]
    return build_recipe(method=method, base="a", tuned=tuned, parameters=parameters)


def test_weights_that_cancel_have_no_mean():
    """Without a mean they may, and where they are divided by entry by entry."""
    with pytest.raises(MergeError, match="weights 1, -1 add up to 0, so there is no mean"):
        recipe("breadcrumbs", (1, -1), normalize=True)
    recipe("breadcrumbs", (1, -1), normalize=False)
    recipe("breadcrumbs-ties", (1, -1), normalize=True)
    recipe("breadcrumbs", (0, 0), normalize=True)
    assert recipe("breadcrumbs", (1,)).lambdas_at(Place("", 0.0)) == (1.0,)


def test_at_lambda_0_the_base_keeps_its_bits(tmp_path, models):
    name = "model.layers.0.mlp.down_proj.weight"
    signed = doubles(models(0, "float32"))[name].float()
    signed[0, :4] = -0.0
    base = copy_with(models(0, "float32"), tmp_path / "base", {name: signed})
    merge("breadcrumbs", base=base, tuned=[models(1, "float32")], lambdas=[0.0], out=tmp_path / "o")
    found = weights(tmp_path / "o")[name]
    assert torch.equal(found.view(torch.int32), signed.view(torch.int32))


@pytest.mark.parametrize(
    ("method", "name", "value", "most"),
    [
        ("breadcrumbs", "density", -0.1, "1"),
        ("breadcrumbs", "density", 1.1, "1"),
        ("breadcrumbs", "gamma", 1.1, "1"),
        ("della", "epsilon", -0.1, "0.5"),
        ("della", "epsilon", 0.6, "0.5"),
    ],
)
def test_shares_are_shares(method, name, value, most):
    with pytest.raises(MergeError, match=f"{name} is {value}; it must lie between 0 and {most}"):
        recipe(method, (1,), **{name: value})
