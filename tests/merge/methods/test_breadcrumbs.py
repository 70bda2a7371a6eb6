"""Model breadcrumbs, alone and with TIES' election, by sorted entries in float64."""

import pytest
import torch
from drawn_merges import drawn_merges, tenths
from hypothesis import given, settings
from hypothesis import strategies as st
from method_references import reference_elect

from merge.methods.breadcrumbs import middle_entries


def reference_crumbs(delta, density, gamma):
    if density >= 1:
        return delta
    size, flat = delta.numel(), delta.flatten()
    kept = int(density * size)
    if not kept:
        return torch.zeros_like(delta)
    bottom = max(0, size - kept - int(gamma * size))
    ordered = flat.abs().float().sort().values[bottom : bottom + kept]
    magnitudes = delta.abs().float()
    return torch.where((magnitudes >= ordered[0]) & (magnitudes <= ordered[-1]), delta, 0.0)


def rescaled(kept, delta):
    before, after = float(delta.abs().sum()), float(kept.abs().sum())
    return kept if min(before, after) < 1e-7 else kept * before / after


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    case=drawn_merges(),
    densities=st.lists(tenths, min_size=3, max_size=3),
    gammas=st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.9]), min_size=3, max_size=3),
    elects=st.booleans(),
    normalize=st.booleans(),
    rescale=st.booleans(),
)
def test_is_its_formula(case, densities, gammas, elects, normalize, rescale):
    weights = [abs(w) + 0.125 for w in case.weights] if elects else case.weights
    merged = case.merged(
        "breadcrumbs-ties" if elects else "breadcrumbs",
        {"normalize": normalize, "rescale": rescale},
        {"weight": weights, "density": densities, "gamma": gammas},
        lambdas=(case.scale,),
    )
    exact = {}
    for name, base in case.exact(0).items():
        deltas = case.deltas(name)
        kept = [reference_crumbs(*each) for each in zip(deltas, densities, gammas, strict=False)]
        if rescale:
            kept = [rescaled(*each) for each in zip(kept, deltas, strict=True)]
        if elects:
            change = reference_elect(kept, weights, normalize)
        else:
            change = sum(w * each for w, each in zip(weights, kept, strict=True))
            change = change / (sum(weights) if normalize else 1)
        exact[name] = base + case.scale * change
    case.compare(merged, exact)


@pytest.mark.parametrize(
    ("density", "gamma", "kept"),
    [
        (0.5, 0.2, {3, 4, 5, 6, 7}),  # eight and nine are too large, nought to two too small
        (0.9, 0.2, set(range(9))),  # no room for two outliers and none below
        (0.5, 0.0, {5, 6, 7, 8, 9}),
        (0.05, 0.1, set()),
        (1.0, 0.9, set(range(10))),
    ],
)
def test_which_entries_are_kept(density, gamma, kept):
    delta = torch.tensor([3, -9, 1, 4, -10, 2, 8, -7, 6, 5.0])  # magnitudes 1 to 10
    found = middle_entries(delta, density, gamma)
    assert {int(abs(value)) - 1 for value in found if value} == kept
    assert torch.equal(found[found != 0], delta[found != 0])


def test_entries_that_float32_does_not_tell_apart_are_equal():
    delta = torch.tensor([2.0, 1 + 1e-12, 1.0, 3.0], dtype=torch.float64)
    assert torch.equal(middle_entries(delta, 0.75, 0.0), delta)
