"""Model Stock against its formula in float64, and small and unchanged tensors."""

import itertools

import torch
from merge_models import assert_rounded, copy_with, doubles, weights
from method_references import merged_by


def test_model_stock(tmp_path, models):
    folders = [models(seed) for seed in range(4)]
    merged = merged_by("model-stock", tmp_path, folders)
    base, *tuned = (doubles(folder) for folder in folders)
    ratios = []
    for name, tensor in merged.items():
        deltas = [(model[name] - base[name]).flatten() for model in tuned]
        cosines = [
            torch.cosine_similarity(a, b, dim=0) for a, b in itertools.combinations(deltas, 2)
        ]
        cosine = max(0.0, float(sum(cosines)) / 3)
        t = 3 * cosine / (1 + 2 * cosine)
        ratios.append(t)
        mean = sum(model[name] for model in tuned) / 3
        assert_rounded(tensor, t * mean + (1 - t) * base[name])
    assert min(ratios) < max(ratios)


def test_model_stock_keeps_the_update_of_tiny_tensors(tmp_path, models):
    """Deltas of 1e-6 that agree are an update like any other; no threshold swallows them."""
    base = torch.ones(16)
    step = torch.zeros(16)
    step[3] = 2.0**-20
    folders = [
        copy_with(models(0), tmp_path / str(number), {"norm": base + number * step})
        for number in (0, 1, 2)
    ]
    merged = merged_by("model-stock", tmp_path, folders)
    assert torch.equal(merged["norm"], base + 1.5 * step)


def test_model_stock_of_unchanged_tensors(tmp_path, models):
    other = tmp_path / "other"
    other.symlink_to(models(0))
    merged = merged_by("model-stock", tmp_path, [models(0), models(0), other])
    assert all(torch.equal(value, merged[name]) for name, value in weights(models(0)).items())


def test_model_stock_of_deltas_that_disagree(tmp_path, models):
    """Fine-tunes that point away from each other leave the base as it was."""
    directions = torch.tensor([[1.0, 0.0], [-0.6, 0.8], [-0.6, -0.8]])
    folders = [copy_with(models(0), tmp_path / "base", {"extra": torch.ones(2)})]
    folders += [
        copy_with(models(0), tmp_path / str(number), {"extra": 1 + 0.5 * direction})
        for number, direction in enumerate(directions)
    ]
    assert torch.equal(merged_by("model-stock", tmp_path, folders)["extra"], torch.ones(2))
