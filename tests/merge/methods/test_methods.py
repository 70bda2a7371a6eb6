"""Every method against a float64 reference written from its paper, on random tiny models."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from merge_models import assert_rounded, copy_with, doubles, peft_merged, weights

from merge import MergeError, Options, merge


def merged_by(method, tmp_path, folders, **arguments):
    base, *tuned = folders
    merge(method, base=base, tuned=tuned, out=tmp_path / "out", **arguments)
    return weights(tmp_path / "out")


def reference_mask(seed, name, stream, count, drop_rate):
    """Which elements are kept, with Python's and numpy's unsigned integers."""
    key = hashlib.blake2b(f"{seed}\0{stream}\0{0}\0{name}".encode(), digest_size=8).digest()
    first, second = np.frombuffer(key, dtype="<u4")
    x = np.arange(count, dtype=np.uint32) ^ first
    x = (x ^ (x >> np.uint32(17))) * np.uint32(0xED5AD4BB) + second
    x = (x ^ (x >> np.uint32(11))) * np.uint32(0xAC4C1B51)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x31848BAB)
    x = x ^ (x >> np.uint32(14))
    kept = (x & np.uint32(0x7FFFFFFF)) < round((1 - drop_rate) * 2**31)
    return torch.from_numpy(kept)


def reference_dare(deltas, seed, drop_rate, stream=0):
    return {
        name: torch.where(
            reference_mask(seed, name, stream, delta.numel(), drop_rate).reshape(delta.shape),
            delta / (1 - drop_rate),
            0.0,
        )
        for name, delta in deltas.items()
    }


def subtract(left, right):
    return {name: left[name] - right[name] for name in left}


def test_task_arithmetic_with_signed_weights(tmp_path, models):
    from merge.api import merge_recipe
    from merge.recipe.recipe import build_recipe

    recipe = build_recipe(
        method="task-arithmetic",
        base=str(models(0)),
        tuned=[
            {"model": str(models(1)), "parameters": {"weight": 0.7}},
            {"model": str(models(2)), "parameters": {"weight": -0.4}},
        ],
        lambdas=[0.9],
    )
    merge_recipe(recipe, tmp_path / "out")
    base, one, two = (doubles(models(seed)) for seed in range(3))
    for name, tensor in weights(tmp_path / "out").items():
        delta = 0.7 * (one[name] - base[name]) - 0.4 * (two[name] - base[name])
        assert_rounded(tensor, base[name] + 0.9 * delta)


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


def reference_elect(deltas, shares, normalize=True):
    stacked = torch.stack([share * delta for share, delta in zip(shares, deltas, strict=True)])
    sign = torch.where(stacked.sum(0) >= 0, 1.0, -1.0)
    agree = torch.sign(stacked) == sign
    total = torch.where(agree, stacked, 0).sum(0)
    if not normalize:
        return total
    weight = torch.tensor(shares, dtype=torch.float64).reshape(-1, *[1] * sign.ndim)
    share = torch.where(agree, weight, 0).sum(0)
    return torch.where(share > 0, total / share, 0.0)


def reference_trim(delta, density):
    count = round(density * delta.numel())
    if count == 0:
        return torch.zeros_like(delta)
    threshold = delta.abs().flatten().sort(descending=True).values[count - 1]
    return torch.where(delta.abs() >= threshold, delta, 0.0)


@pytest.mark.parametrize("density", [0.0, 0.2, 0.55, 1.0])
def test_ties(tmp_path, models, density):
    folders = [models(0), models(1), models(2)]
    merged = merged_by("ties", tmp_path, folders, lambdas=[0.8], parameters={"density": density})
    base, *tuned = (doubles(folder) for folder in folders)
    for name, tensor in merged.items():
        trimmed = [reference_trim(model[name] - base[name], density) for model in tuned]
        assert_rounded(tensor, base[name] + 0.8 * reference_elect(trimmed, [1.0, 1.0]))


def test_ties_over_the_whole_model(tmp_path, models):
    folders = [models(0), models(1), models(2)]
    merged = merged_by(
        "ties",
        tmp_path,
        folders,
        lambdas=[1],
        parameters={"density": 0.3, "whole_model": 1},
    )
    base, *tuned = (doubles(folder) for folder in folders)
    deltas = [subtract(model, base) for model in tuned]
    trimmed = []
    for delta in deltas:
        flat = torch.cat([value.flatten() for value in delta.values()])
        threshold = flat.abs().sort(descending=True).values[round(0.3 * len(flat)) - 1]
        trimmed.append(
            {name: torch.where(v.abs() >= threshold, v, 0.0) for name, v in delta.items()}
        )
    for name, tensor in merged.items():
        elected = reference_elect([delta[name] for delta in trimmed], [1.0, 1.0])
        assert_rounded(tensor, base[name] + elected)


def test_ties_of_one_model_scales_by_its_weight(tmp_path, models):
    folders = [models(0), models(1)]
    arguments = {"lambdas": [1], "parameters": {"density": 0.5, "weight": 0.5}}
    merged = merged_by("ties", tmp_path, folders, **arguments)
    base, tuned = doubles(folders[0]), doubles(folders[1])
    for name, tensor in merged.items():
        assert_rounded(tensor, base[name] + 0.5 * reference_trim(tuned[name] - base[name], 0.5))


def test_dare_ties(tmp_path, models):
    folders = [models(0), models(1), models(2)]
    merged = merged_by(
        "dare-ties", tmp_path, folders, lambdas=[0.5], parameters={"drop_rate": 0.25}, seed=9
    )
    base, *tuned = (doubles(folder) for folder in folders)
    dropped = [reference_dare(subtract(m, base), 9, 0.25, i) for i, m in enumerate(tuned)]
    for name, tensor in merged.items():
        elected = reference_elect([delta[name] for delta in dropped], [1.0, 1.0])
        assert_rounded(tensor, base[name] + 0.5 * elected)


def reference_slerp(a, b, share):
    cosine = float((a * b).sum() / (a.norm() * b.norm()))
    if abs(cosine) > 0.9995:
        return (1 - share) * a + share * b
    angle = np.arccos(cosine)
    return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)


def test_slerp_and_its_fallback(tmp_path, models):
    close = copy_with(
        models(0),
        tmp_path / "close",
        {"model.norm.weight": weights(models(0))["model.norm.weight"] * 1.01},
    )
    done = merge("slerp", base=models(0), tuned=[close], lambdas=[0.3], out=tmp_path / "near")
    assert done.report == {"tensors interpolated linearly": len(weights(close))}

    done = merge("slerp", base=models(0), tuned=[models(1)], lambdas=[0.3], out=tmp_path / "far")
    assert done.report["tensors interpolated on the sphere"] > 10
    a, b = doubles(models(0)), doubles(models(1))
    for name, tensor in weights(tmp_path / "far").items():
        assert_rounded(tensor, reference_slerp(a[name], b[name], 0.3))


def test_slerp_hand_computed(tmp_path, models):
    """Halfway between two orthogonal unit vectors each has weight 1/√2."""
    one, two = torch.zeros(2, 3), torch.zeros(2, 3)
    one[0, 0] = two[1, 1] = 1
    a = copy_with(models(0), tmp_path / "a", {"extra": one})
    b = copy_with(models(0), tmp_path / "b", {"extra": two})
    merged = merged_by("slerp", tmp_path, [a, b], lambdas=[0.5])
    torch.testing.assert_close(merged["extra"], (one + two) * 0.5**0.5)


def test_slerp_on_deltas(tmp_path, models):
    folders = [models(0), models(1), models(2)]
    merged = merged_by("slerp", tmp_path, folders, lambdas=[0.4], parameters={"on_deltas": 1})
    base, one, two = (doubles(folder) for folder in folders)
    for name, tensor in merged.items():
        mixed = reference_slerp(one[name] - base[name], two[name] - base[name], 0.4)
        assert_rounded(tensor, base[name] + mixed)
    with pytest.raises(MergeError, match="slerp on weights takes 1 --tuned"):
        merged_by("slerp", tmp_path, folders, lambdas=[0.4])


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
    merged = merged_by("model-stock", tmp_path, [models(0), models(0), models(0)])
    assert all(torch.equal(value, merged[name]) for name, value in weights(models(0)).items())


@pytest.mark.parametrize("drop_rate", [0, 0.3])
def test_resta(tmp_path, models, drop_rate):
    merge(
        "resta",
        aligned=str(models(0)),
        unaligned=str(models(2)),
        tuned=[models(1)],
        parameters={"gamma": 0.5, "drop_rate": drop_rate},
        seed=42,
        out=tmp_path / "out",
    )
    aligned, tuned, unaligned = (doubles(models(seed)) for seed in range(3))
    task = subtract(tuned, aligned)
    if drop_rate:
        task = reference_dare(task, 42, drop_rate)
    for name, tensor in weights(tmp_path / "out").items():
        exact = aligned[name] + task[name] + 0.5 * (aligned[name] - unaligned[name])
        assert_rounded(tensor, exact)


def test_resta_from_adapters(tmp_path, models, adapters):
    merge(
        "resta",
        base=models(0),
        tuned=[adapters(1)],
        unaligned=str(adapters(2)),
        parameters={"gamma": 0.5},
        out=tmp_path / "out",
    )
    base = doubles(models(0))
    tuned, unaligned = peft_merged(models(0), adapters(1)), peft_merged(models(0), adapters(2))
    for name, tensor in weights(tmp_path / "out").items():
        exact = tuned[name].double() + 0.5 * (base[name] - unaligned[name].double())
        assert_rounded(tensor, exact)


def reference_safe_lora(base, unaligned, tuned):
    """Return, by tensor, the cosine and the projected update."""
    found = {}
    for name in base:
        update = tuned[name] - base[name]
        if not update.any():
            continue
        v = base[name] - unaligned[name]
        projected = v @ v.T / v.norm() @ update
        cosine = (projected * update).sum() / (projected.norm() * update.norm())
        found[name] = (float(cosine), projected)
    return found


@pytest.mark.parametrize("parameters", [{"threshold": 0.3}, {"layers": 3}, {"threshold": -1}])
def test_safe_lora(tmp_path, models, adapters, parameters):
    done = merge(
        "safe-lora",
        base=models(0),
        tuned=[adapters(1)],
        unaligned=str(models(2)),
        parameters=parameters,
        out=tmp_path / "out",
    )
    base, unaligned = doubles(models(0)), doubles(models(2))
    tuned = {name: value.double() for name, value in peft_merged(models(0), adapters(1)).items()}
    found = reference_safe_lora(base, unaligned, tuned)
    lowest = sorted(found, key=lambda name: found[name][0])[: parameters.get("layers", 0)]
    projected = 0
    for name, tensor in weights(tmp_path / "out").items():
        cosine, update = found.get(name, (1.0, tuned[name] - base[name]))
        chosen = name in lowest if "layers" in parameters else cosine <= parameters["threshold"]
        projected += chosen
        assert_rounded(tensor, base[name] + update if chosen else tuned[name])
    assert done.report.get("updates projected", 0) == projected
    assert projected == {"threshold": projected, "layers": 3}[next(iter(parameters))]
    assert done.report["updates kept"] + projected == len(found)


def test_safe_lora_needs_an_adapter(tmp_path, models):
    with pytest.raises(MergeError, match="give the adapter"):
        merge(
            "safe-lora",
            base=models(0),
            tuned=[models(1)],
            unaligned=str(models(2)),
            out=tmp_path / "out",
        )


def test_sums_over_many_blocks(tmp_path, models):
    """A tensor of several blocks, whose last one is short, is measured as a whole."""
    torch.manual_seed(3)
    base = torch.randn(700, 1000)
    common = torch.randn(700, 1000)
    one, two = (base + 0.3 * (common + torch.randn(700, 1000)) for _ in range(2))
    folders = [
        copy_with(models(0), tmp_path / str(number), {"big": tensor})
        for number, tensor in enumerate((base, one, two))
    ]
    merged = merged_by("model-stock", tmp_path, folders)["big"]
    deltas = [(tensor.double() - base.double()).flatten() for tensor in (one, two)]
    cosine = float(torch.cosine_similarity(*deltas, dim=0))
    t = 2 * cosine / (1 + cosine)
    assert t > 0.5
    exact = base.double() + t * sum(deltas).reshape(700, 1000) / 2
    torch.testing.assert_close(merged.double(), exact, rtol=1e-6, atol=1e-6)

    merge(
        "ties",
        base=folders[0],
        tuned=folders[1:],
        lambdas=[1],
        parameters={"density": 0.1},
        out=tmp_path / "ties",
    )
    trimmed = [reference_trim((tensor - base).double(), 0.1) for tensor in (one, two)]
    exact = base.double() + reference_elect(trimmed, [1.0, 1.0])
    merged = weights(tmp_path / "ties")["big"]
    torch.testing.assert_close(merged.double(), exact, rtol=1e-5, atol=1e-5)
