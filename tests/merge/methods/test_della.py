"""DELLA, with and without TIES' election, by ranks and masks in float64."""

import pytest
import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st
from method_references import reference_elect, reference_random

from merge import MergeError, build_recipe
from merge.methods.della import keep_probabilities
from merge.recipe.tensor_settings import Place

PLACE = Place("", 0.0)


def reference_odds(delta, density, epsilon):
    """Return each entry's probability, row by row, from its rank."""
    rows = delta.reshape(-1, delta.shape[-1])
    odds = torch.empty_like(rows)
    for row, values in enumerate(rows):
        ranked = sorted(range(len(values)), key=lambda place: (abs(float(values[place])), place))
        for rank, place in enumerate(ranked):
            share = rank / (len(values) - 1) if len(values) > 1 else 0.5
            odds[row, place] = density - epsilon + 2 * epsilon * share
    return odds.reshape(delta.shape)


def reference_pruned(case, name, delta, number, density, epsilon):
    if density == 1:
        return delta
    if density == 0:
        return torch.zeros_like(delta)
    drawn = reference_random(case.seed, name, number, delta.numel()).reshape(delta.shape)
    odds = reference_odds(delta, density, epsilon)
    return torch.where(drawn < (odds * 2**31).round(), delta, 0.0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    case=drawn_merges(),
    densities=st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0]), min_size=3, max_size=3),
    epsilons=st.lists(st.sampled_from([0.0, 0.1, 0.24]), min_size=3, max_size=3),
    elects=st.booleans(),
    normalize=st.booleans(),
    rescale=st.booleans(),
)
def test_is_its_formula(case, densities, epsilons, elects, normalize, rescale):
    weights = [abs(w) + 0.125 for w in case.weights] if elects else case.weights
    merged = case.merged(
        "della" if elects else "della-linear",
        {"normalize": normalize, "rescale": rescale},
        {"weight": weights, "density": densities, "epsilon": epsilons},
        lambdas=(case.scale,),
    )
    exact = {}
    for name, base in case.exact(0).items():
        kept = []
        for number, delta in enumerate(case.deltas(name)):
            pruned = reference_pruned(
                case, name, delta, number, densities[number], epsilons[number]
            )
            before, after = float(delta.abs().sum()), float(pruned.abs().sum())
            factor = before / after if rescale and min(before, after) >= 1e-7 else 1.0
            kept.append(factor * pruned)
        if elects:
            change = reference_elect(kept, weights, normalize)
        else:
            change = sum(w * each for w, each in zip(weights, kept, strict=True))
            change = change / (sum(weights) if normalize else 1)
        exact[name] = base + case.scale * change
    case.compare(merged, exact)


def test_large_entries_are_kept_more_often():
    rows = torch.tensor([[1.0, -4.0, 2.0], [0.5, 0.5, -0.1]])
    odds = keep_probabilities(rows, 0.6, 0.2)
    wanted = torch.tensor([[0.4, 0.8, 0.6], [0.6, 0.8, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(odds, wanted)
    torch.testing.assert_close(
        keep_probabilities(rows[:, :1], 0.6, 0.2), torch.full((2, 1), 0.6).double()
    )


def test_equal_entries_rank_in_their_order():
    odds = keep_probabilities(torch.ones(1, 5000), 0.5, 0.25)
    wanted = torch.linspace(0.25, 0.75, 5000, dtype=torch.float64)
    torch.testing.assert_close(odds[0], wanted, rtol=1e-12, atol=0)


def test_defaults_are_mergekits():
    models = [{"model": "b"}]
    arguments = {"base": "a", "tuned": models}
    for method, normalize in (("della", True), ("della-linear", False)):
        values = build_recipe(method=method, **arguments).values_at(PLACE)
        assert (values["normalize"], values["rescale"]) == (normalize, True)
        assert values.models[0].model_dump() == {"weight": 1.0, "density": 1.0, "epsilon": 0.15}


def test_odds_have_to_be_odds():
    parameters = {"density": 0.9, "epsilon": 0.15}
    with pytest.raises(MergeError, match=r"density 0.9 and epsilon 0.15 give odds .* below 0.1"):
        build_recipe(method="della", base="a", tuned=[{"model": "b"}], parameters=parameters)
