"""LSSF's surrogate, by whole singular value decompositions in float64."""

import math

import pytest
import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st

from merge import MergeError, build_recipe
from merge.methods.math.subspaces import entropy_part

UNALIGNED = 4


def reference(matrix):
    """Return the part of effective rank."""
    if not matrix.any():
        return matrix
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    shares = [float(value / s.sum()) for value in s if value > 1e-12 * s[0]]
    rank = max(1, round(math.exp(-sum(share * math.log(share) for share in shares))))
    return u[:, :rank] @ (s[:rank, None] * vh[:rank])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=drawn_merges(1, 1), gamma=st.sampled_from([-0.5, 0.25, 1.25]))
def test_is_its_formula(case, gamma):
    merged = case.merged("lssf-surrogate", {"gamma": gamma}, unaligned=UNALIGNED)
    base, tuned, unaligned = (case.exact(number) for number in (0, 1, UNALIGNED))
    limit = 2e-5 if case.dtype == torch.float32 else 1e-9
    for name, value in merged.items():
        exact = tuned[name]
        if exact.ndim > 1:
            vector = base[name] - unaligned[name]
            matrices = vector.reshape(-1, *vector.shape[-2:])
            exact = exact + gamma * torch.stack([reference(m) for m in matrices]).reshape(
                vector.shape
            )
        assert value.dtype == case.dtype
        torch.testing.assert_close(value.double(), exact, rtol=limit, atol=limit)


def test_the_rank_follows_from_the_entropy():
    """Of three equal values all are kept, and of one that is nearly alone one."""
    assert torch.allclose(entropy_part(2 * torch.eye(3)), 2 * torch.eye(3))
    lone = torch.diag(torch.tensor([1.0, 0.01, 0.01]))
    torch.testing.assert_close(entropy_part(lone), torch.diag(torch.tensor([1.0, 0, 0])))
    # Shares ⅔ and ⅓: exp(0.64) is nearer to 2; shares 0.9 and 0.1: exp(0.33) to 1.
    two = torch.diag(torch.tensor([0.0, 2.0, 1.0]))
    torch.testing.assert_close(entropy_part(two), two)
    one = torch.diag(torch.tensor([0.0, 9.0, 1.0]))
    torch.testing.assert_close(entropy_part(one), torch.diag(torch.tensor([0.0, 9.0, 0.0])))
    assert not entropy_part(torch.zeros(2, 3)).any()


@pytest.mark.parametrize("shape", [(300, 200), (200, 300)])
def test_a_rank_that_float32_would_miss(shape):
    """Shares ⅞ and ⅛: exp(0.38) is nearer to 1, with the noise of float32 squares to 2."""
    generator = torch.Generator().manual_seed(2)
    u, v = (torch.linalg.qr(torch.randn(n, 2, generator=generator).double()).Q for n in shape)
    first, second = u[:, :1] @ v[:, :1].T, u[:, 1:] @ v[:, 1:].T
    found = entropy_part((first + second / 7).float())
    torch.testing.assert_close(found.double(), first, rtol=1e-5, atol=1e-6)


def test_it_needs_a_strength():
    with pytest.raises(MergeError, match=r"lssf-surrogate needs gamma .*; give --gamma"):
        build_recipe(method="lssf-surrogate", base="a", unaligned="u", tuned=[{"model": "b"}])


def test_it_is_of_one_model():
    arguments = {"base": "a", "unaligned": "u", "parameters": {"gamma": 1}}
    with pytest.raises(MergeError, match="remove a --tuned"):
        build_recipe(method="lssf-surrogate", tuned=[{"model": "b"}, {"model": "c"}], **arguments)
