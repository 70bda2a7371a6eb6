"""LoX, by whole singular value decompositions in float64."""

import pytest
import torch
from drawn_merges import drawn_merges
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_models import assert_rounded, doubles, weights

from merge import MergeError, build_recipe, merge_recipe
from merge.methods import lox
from merge.methods.math import subspaces
from merge.methods.math.subspaces import leading_part

UNALIGNED = 4


def reference(matrix, rank):
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u[..., :rank] @ (s[..., :rank, None] * vh[..., :rank, :])


def recipe(method="lox", parameters=None, **fields):
    return build_recipe(method=method, parameters=parameters or {}, **fields)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    case=drawn_merges(0, 0),
    rank=st.integers(0, 4),
    gamma=st.sampled_from([-0.5, 0.25, 1.25]),
)
def test_is_its_formula(case, rank, gamma):
    merged = case.merged("lox", {"rank": rank, "gamma": gamma}, unaligned=UNALIGNED)
    base, unaligned = case.exact(0), case.exact(UNALIGNED)
    exact = {}
    for name, start in base.items():
        vector = start - unaligned[name]
        part = reference(vector, rank) if rank and start.ndim > 1 else vector
        exact[name] = start + gamma * part if start.ndim > 1 else start
    limit = 2e-5 if case.dtype == torch.float32 else 1e-9
    for name, value in merged.items():
        assert value.dtype == case.dtype
        torch.testing.assert_close(value.double(), exact[name], rtol=limit, atol=limit)


@pytest.mark.parametrize("shape", [(90, 60), (60, 90)])
def test_the_range_finder_finds_the_leading_part(monkeypatch, shape):
    monkeypatch.setattr(subspaces, "EXACT_SIDE", 0)
    generator = torch.Generator().manual_seed(5)
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=generator).double(), False)
    values = 0.8 ** torch.arange(60).double()
    matrix = u @ (values[:, None] * vh)
    for rank in (1, 6):
        found = leading_part(matrix, rank, seed=rank)
        torch.testing.assert_close(found, reference(matrix, rank), rtol=1e-9, atol=1e-9)
    single = leading_part(matrix.float(), 6).double()
    torch.testing.assert_close(single, reference(matrix, 6), rtol=1e-4, atol=1e-5)
    assert torch.equal(leading_part(matrix.float(), 6, seed=1), leading_part(matrix.float(), 6, 1))
    # Another range finds another part about as near, where the values hardly fall.
    close = torch.randn(shape, generator=generator)
    assert not torch.equal(leading_part(close, 6, seed=1), leading_part(close, 6, seed=2))


def test_a_small_matrix_s_leading_part_is_exact():
    matrix = torch.randn(90, 60, generator=torch.Generator().manual_seed(5)).double()
    torch.testing.assert_close(leading_part(matrix, 6), reference(matrix, 6), rtol=1e-9, atol=1e-9)


def test_the_range_is_drawn_by_the_recipe_s_seed(tmp_path, models, monkeypatch):
    seeds = []
    monkeypatch.setattr(lox, "leading_part", lambda matrix, _, seed: seeds.append(seed) or matrix)
    base, unaligned = str(models(0)), str(models(1))
    parameters = {"rank": 2, "gamma": 0.5}
    built = recipe(base=base, unaligned=unaligned, parameters=parameters, seed=7)
    merge_recipe(built, tmp_path / "out")
    assert set(seeds) == {7}


def test_a_rank_beyond_the_matrix_is_all_of_it():
    matrix = torch.randn(5, 3)
    assert torch.equal(leading_part(matrix, 3), matrix)
    assert torch.equal(leading_part(matrix, 9), matrix)


def test_a_model_is_ready_to_be_fine_tuned(tmp_path, models):
    built = recipe(
        base=str(models(0)), unaligned=str(models(1)), parameters={"rank": 2, "gamma": 0.5}
    )
    merge_recipe(built, tmp_path / "out")
    base, unaligned = doubles(models(0)), doubles(models(1))
    for name, tensor in weights(tmp_path / "out").items():
        vector = base[name] - unaligned[name]
        added = 0.5 * reference(vector, 2) if vector.ndim == 2 else 0
        assert_rounded(tensor, base[name] + added)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"lox needs gamma \(strength.*; give --gamma"),
        ({"parameters": {"gamma": 1}}, r"lox needs rank \(directions.*; give --set rank=…"),
        ({"parameters": {"gamma": 1, "rank": 1}, "tuned": [{"model": "b"}]}, "remove a --tuned"),
    ],
)
def test_what_it_needs(fields, message):
    with pytest.raises(MergeError, match=message):
        recipe(base="a", unaligned="u", **fields)
