"""NuSLERP, by the formula of an arc on each tensor, row or column in float64."""

import math

import pytest
import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st

from merge.methods.nuslerp import arc_factors, second_share


def arc(a, b, share):
    """Return the point on the arc between two vectors."""
    lengths = [max(float(vector.norm()), 1e-7) for vector in (a, b)]
    angle = math.acos(max(-1.0, min(1.0, float(a @ b) / (lengths[0] * lengths[1]))))
    if abs(math.sin(angle)) < 1e-8:
        return (1 - share) * a + share * b
    return (math.sin((1 - share) * angle) * a + math.sin(share * angle) * b) / math.sin(angle)


def reference(a, b, share, flatten, first):
    if flatten:
        return arc(a.flatten(), b.flatten(), share).reshape(a.shape)
    if first:
        a, b = a.transpose(0, -1), b.transpose(0, -1)
    rows = [
        arc(x, y, share)
        for x, y in zip(a.reshape(-1, a.shape[-1]), b.reshape(-1, a.shape[-1]), strict=True)
    ]
    result = torch.stack(rows).reshape(a.shape)
    return result.transpose(0, -1) if first else result


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    case=drawn_merges(2, 2),
    flatten=st.booleans(),
    first=st.booleans(),
    on_deltas=st.booleans(),
)
def test_is_its_formula(case, flatten, first, on_deltas):
    merged = case.merged(
        "nuslerp",
        {"nuslerp_flatten": flatten, "nuslerp_row_wise": first, "on_deltas": on_deltas},
        {"weight": case.weights},
    )
    share = case.weights[1] / sum(case.weights)
    base = case.exact(0)
    exact = {}
    for name in merged:
        ends = case.deltas(name) if on_deltas else [case.exact(n)[name] for n in (1, 2)]
        exact[name] = reference(*ends, share, flatten, first) + on_deltas * base[name]
    case.compare(merged, exact)


@pytest.mark.parametrize(
    ("weights", "share"), [((1, 3), 0.75), ((0.5, -0.5), 0.5), ((2, -1), -1), ((1, 0), 0)]
)
def test_the_share_follows_from_the_weights(weights, share):
    assert second_share(*weights) == share


def test_vectors_count_as_no_shorter_than_a_tenth_of_a_millionth():
    """Of a, 1e-8 long, and b, 1 long in its direction, the cosine is a tenth."""
    squares = torch.tensor([1e-16, 1.0, 1e-8], dtype=torch.float64)
    angle = math.acos(0.1)
    wanted = [math.sin(share * angle) / math.sin(angle) for share in (0.75, 0.25)]
    assert [float(each) for each in arc_factors(0.25, *squares)] == pytest.approx(wanted)


@pytest.mark.parametrize("product", [2.0, -2.0])
def test_vectors_that_point_one_way_or_opposite_ways_are_interpolated_linearly(product):
    squares = torch.tensor([1.0, 4.0, product], dtype=torch.float64)
    assert [float(each) for each in arc_factors(0.25, *squares)] == [0.75, 0.25]
