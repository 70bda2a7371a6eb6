"""Multi-SLERP, by its steps on whole vectors in float64."""

import pytest
import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_models import copy_with, doubles

from merge import MergeError, build_recipe, merge_recipe
from merge.methods.multislerp import multislerp_weights


def reference(points, weights, normalize, eps):
    if len(points) == 1:
        return points[0]
    flat = torch.stack([point.flatten() for point in points])
    shares = torch.tensor(weights, dtype=torch.float64)
    shares = shares / shares.sum() if normalize else shares
    lengths = flat.norm(dim=1)
    units = flat / (lengths + eps)[:, None]
    mean = shares @ units
    if mean.norm() < eps or not flat.any():
        return (shares @ flat).reshape(points[0].shape)
    mean = mean / mean.norm()
    tangents = units - (units @ mean)[:, None] * mean
    tangent = shares @ tangents
    angle = tangent.norm() + eps
    point = angle.cos() * mean + angle.sin() / angle * tangent
    return ((lengths @ shares) * point).reshape(points[0].shape)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    case=drawn_merges(1, 4),
    normalize=st.booleans(),
    on_deltas=st.booleans(),
    eps=st.sampled_from([1e-8, 0.01]),
)
def test_is_its_formula(case, normalize, on_deltas, eps):
    merged = case.merged(
        "multislerp",
        {"normalize_weights": normalize, "on_deltas": on_deltas, "eps": eps},
        {"weight": case.weights},
    )
    numbers = range(1, case.count + 1)
    exact = {}
    for name in merged:
        points = case.deltas(name) if on_deltas else [case.exact(n)[name] for n in numbers]
        mean = reference(points, case.weights, normalize, eps)
        exact[name] = mean + case.exact(0)[name] if on_deltas else mean
    case.compare(merged, exact)


def test_directions_that_cancel():
    """Two are averaged on their line; of more there is no mean."""
    points = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]).double()
    two = points[:2]
    assert multislerp_weights(two @ two.T, [1.0, 1.0]).tolist() == [0.5, 0.5]
    assert multislerp_weights(points @ points.T, [1.0, 1.0, 1.0]) is None


@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_a_point_that_is_zero_has_no_direction(eps):
    points = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]).double()
    factors = multislerp_weights(points @ points.T, [1.0, 1.0, 1.0], eps=eps)
    assert factors[0] == 0
    # The others' directions at 45°, with the mean of three lengths.
    torch.testing.assert_close(factors @ points, torch.tensor([2.0, 2.0]).double() * 0.5**0.5)


def test_a_tensor_whose_directions_cancel_is_named(tmp_path, models):
    base = doubles(models(0, "float32"))
    change = torch.ones_like(base["model.norm.weight"])
    folders = [
        copy_with(
            models(0, "float32"),
            tmp_path / str(number),
            {"model.norm.weight": (base["model.norm.weight"].round() + factor * change).float()},
        )
        for number, factor in enumerate((0, 1, 1, -2))
    ]
    with pytest.raises(MergeError, match=r"directions in model.norm.weight cancel .* change a"):
        merge_with(folders, tmp_path / "out", [1.0, 1.0, 2.0])
    assert not (tmp_path / "out").exists()


def merge_with(folders, out, weights):
    base, *tuned = folders
    recipe = build_recipe(
        method="multislerp",
        base=str(base),
        tuned=[
            {"model": str(model), "parameters": {"weight": weight}}
            for model, weight in zip(tuned, weights, strict=True)
        ],
    )
    merge_recipe(recipe, out)


def test_weights_that_add_up_to_nothing(tmp_path, models):
    with pytest.raises(MergeError, match=r"the weights 1, -1 add up to 0"):
        merge_with([models(0), models(1), models(2)], tmp_path / "out", [1.0, -1.0])
