"""What passes keep for each other changes speed and memory, never a result."""

import pytest
import torch
from merge_models import weights

from merge import merge
from merge.engine.pass_cache import PassCache


def test_a_value_is_computed_once():
    store, computed = PassCache(8), []

    def compute():
        computed.append(1)
        return torch.arange(3.0)

    for _ in range(3):
        assert store.get(("sum", "weight", 0), compute).tolist() == [0.0, 1.0, 2.0]
    assert len(computed) == 1
    store.clear()
    store.get(("sum", "weight", 0), compute)
    assert len(computed) == 2


def test_beyond_the_budget_values_are_computed_again():
    store, computed = PassCache(8, budget=8 * 4), []

    def compute():
        computed.append(1)
        return torch.ones(5)

    for start in (0, 1, 1, 1, 0):
        store.get(("sum", "weight", start), compute)
    assert len(computed) == 1 + 3


def test_small_values_share_a_block_of_memory():
    """A full one between them does not end it."""
    store, computed = PassCache(8, budget=3 * 8 * 4), []

    def compute(size, value):
        computed.append(value)
        return torch.full((size,), float(value))

    sizes = [3, 8, 5, 8, 2]
    for _ in range(2):
        kept = [
            store.get(("sum", "weight", start), lambda n=start: compute(sizes[n], n)).tolist()
            for start in range(4)
        ]
        assert kept == [[float(value)] * size for value, size in enumerate(sizes[:4])]
    assert computed == [0, 1, 2, 3]


def test_float64_is_computed_again():
    """The memory is float32, and would round it."""
    store, value = PassCache(8), torch.tensor([1 + 2.0**-40], dtype=torch.float64)
    for _ in range(2):
        assert torch.equal(store.get(("sum", "weight", 0), value.clone), value)


def test_what_is_kept_cannot_be_changed_by_who_computed_it():
    store, mine = PassCache(8), torch.ones(4)
    store.get(("sum", "weight", 0), lambda: mine)
    mine.zero_()
    assert store.get(("sum", "weight", 0), lambda: mine).tolist() == [1.0] * 4


@pytest.mark.parametrize("method", ["ties", "model-stock"])
def test_results_are_the_same_bits_without_memory_to_keep(tmp_path, models, method, monkeypatch):
    arguments = {"parameters": {"density": 0.4}} if method == "ties" else {}
    tuned = [models(1), models(2)]
    merge(method, base=models(0), tuned=tuned, out=tmp_path / "kept", **arguments)
    monkeypatch.setattr(
        "merge.engine.run.PassCache", lambda size, _budget: PassCache(size, budget=0)
    )
    merge(method, base=models(0), tuned=tuned, out=tmp_path / "again", **arguments)
    ours, again = weights(tmp_path / "kept"), weights(tmp_path / "again")
    assert all(torch.equal(ours[name], again[name]) for name in ours)
