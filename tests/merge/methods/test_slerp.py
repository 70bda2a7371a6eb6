"""Spherical interpolation, its fallback and its two kinds of ends."""

import pytest
import torch
from merge_models import assert_rounded, copy_with, doubles, weights
from method_references import merged_by, reference_slerp

from merge import MergeError, merge


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


@pytest.mark.parametrize("zero", ["base", "tuned"])
def test_slerp_with_a_side_of_zeros(tmp_path, models, zero):
    """What has no direction is no end of an arc: the tensor is interpolated linearly."""
    values = {"base": torch.arange(6.0), "tuned": torch.arange(6.0) - 2}
    values[zero] = torch.zeros(6)
    a, b = (copy_with(models(0), tmp_path / role, {"extra": values[role]}) for role in values)
    merged = merged_by("slerp", tmp_path, [a, b], lambdas=[0.25])
    torch.testing.assert_close(merged["extra"], 0.75 * values["base"] + 0.25 * values["tuned"])


def test_slerp_on_deltas(tmp_path, models):
    folders = [models(0), models(1), models(2)]
    merged = merged_by("slerp", tmp_path, folders, lambdas=[0.4], parameters={"on_deltas": 1})
    base, one, two = (doubles(folder) for folder in folders)
    for name, tensor in merged.items():
        mixed = reference_slerp(one[name] - base[name], two[name] - base[name], 0.4)
        assert_rounded(tensor, base[name] + mixed)
    with pytest.raises(MergeError, match="slerp on weights takes 1 --tuned"):
        merged_by("slerp", tmp_path, folders, lambdas=[0.4])
