"""Nearswap, entry by entry in float64."""

import pytest
import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st

from merge import MergeError, build_recipe
from merge.methods.nearswap import nearswap


@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=drawn_merges(1, 1), t=st.sampled_from([0.0, 0.01, 0.125, 0.3, 1.0]))
def test_is_its_formula(case, t):
    merged = case.merged("nearswap", {"t": t})
    exact = {}
    for name, base in case.exact(0).items():
        [delta] = case.deltas(name)
        exact[name] = base + (t / delta.abs().clamp(min=1e-6)).clamp(0, 1) * delta
    case.compare(merged, exact)


def test_tiny_differences_are_divided_by_a_millionth():
    delta = torch.tensor([1e-7, -1e-7, 0.0, 1e-6, -0.5], dtype=torch.float64)
    wanted = torch.tensor([0.5e-7, -0.5e-7, 0.0, 0.5e-6, -0.5e-6], dtype=torch.float64)
    torch.testing.assert_close(nearswap(delta, 0.5e-6), wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({}, r"needs t \(difference up to which"), ({"t": -1}, "t is -1; it must lie between 0")],
)
def test_it_needs_a_difference(parameters, message):
    with pytest.raises(MergeError, match=message):
        build_recipe(method="nearswap", base="a", tuned=[{"model": "b"}], parameters=parameters)


def test_it_is_of_one_model():
    two = [{"model": "b"}, {"model": "c"}]
    with pytest.raises(MergeError, match="remove a --tuned"):
        build_recipe(method="nearswap", base="a", tuned=two, parameters={"t": 1})
