"""The Karcher mean, by its iteration on whole vectors in float64."""

import math

import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st

from merge.methods.karcher import karcher_weights


def reference(points, max_iter, tol):
    flat = [point.flatten() for point in points]
    lengths = [float(point.norm()) for point in flat]
    units = [v / n for v, n in zip(flat, lengths, strict=True) if n > tol]
    if not units:
        return torch.zeros_like(points[0])
    mean = sum(units) / len(units)
    mean = units[0] if mean.norm() < tol else mean / mean.norm()
    for _ in range(max_iter):
        step = torch.zeros_like(mean)
        for unit in units:
            cosine = float(torch.clamp(mean @ unit, -1, 1))
            angle = math.acos(cosine)
            if tol <= angle <= math.pi - tol:
                step += angle / math.sin(angle) * (unit - cosine * mean) / len(units)
        size = float(step.norm())
        if size < tol:
            break
        mean = math.cos(size) * mean + math.sin(size) * step / size
        mean = mean / mean.norm()
    return (sum(lengths) / len(lengths) * mean).reshape(points[0].shape)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    case=drawn_merges(),
    max_iter=st.integers(0, 4),
    tol=st.sampled_from([1e-5, 0.05, 0.3]),
)
def test_is_its_formula(case, max_iter, tol):
    merged = case.merged("karcher", {"max_iter": max_iter, "tol": tol})
    models = [case.exact(number) for number in range(case.count + 1)]
    exact = {name: reference([each[name] for each in models], max_iter, tol) for name in merged}
    case.compare(merged, exact)


def test_two_points_meet_in_the_middle_of_their_arc():
    a, b = torch.tensor([3.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    points = torch.stack([a, b])
    mean = karcher_weights(points @ points.T, tol=1e-9) @ points
    torch.testing.assert_close(mean, torch.tensor([1.0, 1.0]).double() * 2**0.5)


def test_the_mean_of_three_is_where_their_pulls_cancel():
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(3, 5, generator=generator).double().abs()
    mean = karcher_weights(points @ points.T, max_iter=50, tol=1e-12) @ points
    assert abs(float(mean.norm() - points.norm(dim=1).mean())) < 1e-12
    mean /= mean.norm()
    pulls = torch.zeros(5).double()
    for unit in points / points.norm(dim=1, keepdim=True):
        cosine = mean @ unit
        pulls += cosine.acos() / cosine.acos().sin() * (unit - cosine * mean)
    assert pulls.norm() < 1e-9


def test_points_without_a_direction():
    opposite = torch.tensor([[2.0, 0.0], [-4.0, 0.0]]).double()
    # The first one's side is taken, as in mergekit, with the mean of both lengths.
    mean = karcher_weights(opposite @ opposite.T) @ opposite
    torch.testing.assert_close(mean, torch.tensor([3.0, 0.0]).double())
    zero = torch.zeros(2, 2).double()
    assert karcher_weights(zero).tolist() == [0, 0]
    half = torch.tensor([[0.0, 0.0], [4.0, 0.0]]).double()
    assert (karcher_weights(half @ half.T) @ half).tolist() == [2, 0]
