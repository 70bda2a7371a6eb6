"""SCE, by its three steps in float64."""

import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st

from merge import build_recipe
from merge.methods.sce import energy_shares, most_varying, sce
from merge.recipe.tensor_settings import Place


def reference(deltas, select_topk):
    stacked = torch.stack(deltas)
    if select_topk < 1:
        spread = (len(deltas) * (stacked**2).sum(0) - stacked.sum(0) ** 2).float()
        count = int(int((spread != 0).sum()) * select_topk)
        edge = spread.flatten().sort(descending=True).values[count - 1] if count else torch.inf
        stacked = torch.where(spread >= edge, stacked, 0.0)
    energy = (stacked**2).reshape(len(deltas), -1).mean(1)
    if energy.sum() < 1e-6:
        energy = torch.ones_like(energy)
    shares = (energy / energy.sum()).reshape(-1, *[1] * deltas[0].ndim)
    majority = torch.where(stacked.sum(0) >= 0, 1.0, -1.0)
    weights = shares * (stacked.sign() == majority)
    return (stacked * weights).sum(0) / weights.sum(0).clamp(min=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=drawn_merges(1, 4), select_topk=st.sampled_from([0.0, 0.1, 0.5, 0.8, 1.0]))
def test_is_its_formula(case, select_topk):
    merged = case.merged("sce", {"select_topk": select_topk})
    exact = {
        name: base + reference(case.deltas(name), select_topk)
        for name, base in case.exact(0).items()
    }
    case.compare(merged, exact)


def test_by_hand():
    """The second entry varies less than the others; the third's minority is erased."""
    one = torch.tensor([4.0, 1.0, -2.0])
    two = torch.tensor([0.0, 1.5, 6.0])
    # Kept: the first and third. Mean squares 20/3 and 36/3.
    found = sce([one, two], 0.7)
    torch.testing.assert_close(found, torch.tensor([4.0, 0.0, 6.0]))
    # Where both agree they count by their energy.
    found = sce([torch.tensor([1.0, 1.0]), torch.tensor([3.0, 3.0])], 1.0)
    torch.testing.assert_close(found, torch.tensor([2.8, 2.8]))


def test_where_signs_cancel_the_positive_one_counts_and_zeros_count_nowhere():
    found = sce([torch.tensor([1.0, -2.0, 0.5]), torch.tensor([-1.0, 0.0, -2.0])], 1.0)
    torch.testing.assert_close(found, torch.tensor([1.0, -2.0, -2.0]))


def test_the_entries_of_a_large_tensor_that_vary_most():
    one, two = torch.randn(2, 5000, generator=torch.Generator().manual_seed(3)).double()
    selected = most_varying([one, two], 0.3)
    spread = (one - two).abs()
    assert int(selected.sum()) == 1500
    assert float(spread[selected].min()) > float(spread[~selected].max())


def test_all_entries_are_merged_unless_told():
    recipe = build_recipe(method="sce", base="a", tuned=[{"model": "b"}])
    assert recipe.values_at(Place("", 0.0))["select_topk"] == 1


def test_models_with_next_to_no_energy_count_alike():
    tiny = [torch.full((400,), 1e-4), torch.full((400,), 3e-4)]
    assert energy_shares(tiny) == [0.5, 0.5]
    torch.testing.assert_close(energy_shares([10 * each for each in tiny]), [0.1, 0.9])
