"""DARE with linear interpolation: masks, rescaling, seeds and layouts."""

import pytest
import torch
from merge_models import assert_rounded, copy_with, doubles, weights
from method_references import merged_by, reference_dare, subtract

from merge import Options, merge


@pytest.mark.parametrize("count", [1, 2])
def test_dare_linear(tmp_path, models, count):
    folders = [models(seed) for seed in range(count + 1)]
    merged = merged_by(
        "dare-linear", tmp_path, folders, lambdas=[0.6], parameters={"drop_rate": 0.3}, seed=5
    )
    base, *tuned = (doubles(folder) for folder in folders)
    dropped = [
        reference_dare(subtract(model, base), 5, 0.3, stream) for stream, model in enumerate(tuned)
    ]
    for name, tensor in merged.items():
        exact = base[name] + 0.6 * sum(delta[name] for delta in dropped) / count
        assert_rounded(tensor, exact)


def test_dare_without_dropping_is_linear(tmp_path, models):
    folders = [models(0), models(1)]
    merged = merged_by("dare-linear", tmp_path, folders, lambdas=[0.6], parameters={"drop_rate": 0})
    merge("linear", base=folders[0], tuned=folders[1:], lambdas=[0.6], out=tmp_path / "linear")
    linear = weights(tmp_path / "linear")
    assert all(torch.equal(tensor, linear[name]) for name, tensor in merged.items())


def test_dare_keeps_the_mean(tmp_path, models):
    """Dividing by 1-p leaves the expectation of a delta as it was."""
    base = torch.zeros(300, 1000)
    one = copy_with(models(0), tmp_path / "one", {"extra": base})
    two = copy_with(models(0), tmp_path / "two", {"extra": base + 1})
    merged = merged_by(
        "dare-linear",
        tmp_path,
        [one, two],
        lambdas=[1],
        parameters={"drop_rate": 0.75},
    )["extra"]
    assert set(merged.unique().tolist()) == {0.0, 4.0}
    assert abs(float(merged.mean()) - 1) < 0.02


def test_random_methods_give_the_same_bits_on_any_layout(tmp_path, models):
    for number, (shard, threads) in enumerate([("5GB", 1), ("4KB", 3)]):
        merge(
            "dare-ties",
            base=models(0, shard=shard),
            tuned=[models(1), models(2, shard=shard)],
            lambdas=[0.7],
            parameters={"drop_rate": 0.4},
            seed=11,
            out=tmp_path / str(number),
            options=Options(threads=threads),
        )
    one, two = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_seed_matters(tmp_path, models):
    outputs = []
    for seed in (1, 2):
        merge(
            "dare-linear",
            base=models(0),
            tuned=[models(1)],
            lambdas=[0.7],
            parameters={"drop_rate": 0.4},
            seed=seed,
            out=tmp_path / str(seed),
        )
        outputs.append(weights(tmp_path / str(seed))["lm_head.weight"])
    assert not torch.equal(*outputs)
