"""Arcee Fusion, by divergences and sorted scores in float64."""

from types import SimpleNamespace

import pytest
import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from merge_models import copy_with, doubles, weights

from merge import merge
from merge.methods import arcee_fusion
from merge.methods.arcee_fusion import ArceeFusion, importance, outlier_threshold


def reference_scores(tuned, base):
    p, q = (each.softmax(-1) + 1e-8 for each in (tuned, base))
    divergence = (p * (p.log() - q.log())).sum(-1, keepdim=True)
    return (tuned - base).abs() * divergence


def reference(tuned, base):
    scores = reference_scores(tuned, base).flatten()
    ordered = scores.sort().values
    low, middle, high = (ordered[int(q * (len(scores) - 1))] for q in (0.25, 0.5, 0.75))
    threshold = middle + 1.5 * (high - low)
    # How far each score is from deciding otherwise.
    margin = (scores - threshold).abs() / threshold.clamp(min=1e-30)
    chosen = (scores >= threshold).reshape(base.shape)
    return torch.where(chosen, tuned, base), margin.reshape(base.shape)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=drawn_merges(1, 1))
def test_is_its_formula(case):
    merged = case.merged("arcee-fusion", {})
    base, tuned = case.exact(0), case.exact(1)
    for name, value in merged.items():
        exact, margin = reference(tuned[name], base[name])
        # Scores are ordered by their nearest float32, and equal ones are all taken.
        clear = margin > 1e-5
        torch.testing.assert_close(value.double()[clear], exact[clear], rtol=1e-6, atol=1e-6)
        either = (value.double() - base[name]).abs().minimum((value.double() - tuned[name]).abs())
        assert float(either.max()) < 1e-6


def test_scores_and_threshold_by_hand():
    tuned, base = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.zeros(2, 2)
    p = torch.tensor([1.0, 0.0], dtype=torch.float64).softmax(0)
    divergence = float((p * (p / 0.5).log()).sum())
    scores = importance(tuned, base)
    torch.testing.assert_close(scores, torch.tensor([[divergence, 0.0], [0.0, 0.0]]))
    assert outlier_threshold(torch.tensor([5.0, 1, 2, 4, 3, 0, 9, 7, 6])) == 4 + 1.5 * (6 - 2)


@pytest.mark.parametrize("elements", [2, 6])
def test_rows_are_scored_some_at_a_time(monkeypatch, elements):
    """Fewer elements than a row has, and those of two rows of five."""
    generator = torch.Generator().manual_seed(7)
    tuned, base = torch.randn(2, 5, 3, generator=generator)
    monkeypatch.setattr(arcee_fusion, "_AT_ONCE", elements)
    exact = reference_scores(tuned.double(), base.double()).float()
    torch.testing.assert_close(importance(tuned, base), exact)


def test_the_threshold_of_many_scores():
    scores = torch.randn(5000, generator=torch.Generator().manual_seed(3))
    low, middle, high = scores.sort().values[[1249, 2499, 3749]].tolist()
    assert outlier_threshold(scores) == middle + 1.5 * (high - low)


def test_probabilities_of_next_to_nothing_are_compared():
    scores = importance(torch.tensor([[0.0, 901.0]]), torch.tensor([[0.0, 900.0]]))
    assert bool(scores.isfinite().all())


def test_scores_at_the_threshold_are_taken_over():
    """Of rows of one entry the softmax is 1, and every score nought."""
    base, delta = torch.zeros(3), torch.tensor([1.0, -2.0, 0.5])
    block = SimpleNamespace(shape=(3, 1), base=base, tuned=[base + delta], deltas=[delta])
    (found,) = ArceeFusion().merge(block, None, (1.0,), [])
    assert torch.equal(found, delta)


def test_changes_that_stand_out_are_taken_over(tmp_path, models):
    base = doubles(models(0, "float32"))
    name = "model.layers.0.mlp.down_proj.weight"
    changed = base[name] + 1e-3 * torch.ones_like(base[name])
    changed[1, 2] += 1.0
    tuned = copy_with(models(0, "float32"), tmp_path / "tuned", {name: changed.float()})
    merge("arcee-fusion", base=models(0, "float32"), tuned=[tuned], out=tmp_path / "out")
    merged = weights(tmp_path / "out")[name].double()
    taken = (merged - base[name]).abs() > 1e-4
    assert bool(taken[1, 2])
    assert 0 < int(taken.sum()) < taken.numel() / 4
