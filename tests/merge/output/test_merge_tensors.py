"""A merge in memory: the tensors that files would hold, one after the other."""

import pytest
import torch
from merge_models import copy_with, weights

from merge import MergeError, build_recipe, merge_recipe, merge_state_dict, merge_tensors
from merge.output.tensor_buffers import TensorBuffers


def recipe(models, method="linear", count=1, base=None, **given):
    return build_recipe(
        method=method,
        base=str(base or models(0)),
        tuned=[{"model": str(models(number + 1))} for number in range(count)],
        **given,
    )


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("linear", {"lambdas": [0.3]}),
        ("linear", {"lambdas": [0.3], "dtype": "float32"}),
        ("linear", {"lambdas": [0]}),
        ("slerp", {"lambdas": [0.3]}),
        ("ties", {"count": 2, "parameters": {"density": 0.3, "whole_model": 1}}),
        ("model-stock", {"count": 2}),
    ],
)
def test_the_same_as_files(tmp_path, models, method, given):
    one = recipe(models, method, **given)
    merge_recipe(one, tmp_path / "out")
    stored, found = weights(tmp_path / "out"), merge_state_dict(one)
    assert found.keys() == stored.keys()
    for name, value in found.items():
        assert value.dtype == stored[name].dtype
        assert torch.equal(value, stored[name])


def test_integers_scalars_and_tensors_without_elements(tmp_path, models):
    extra = {
        "steps": torch.tensor([7, -3]),
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0, 4),
    }
    base = copy_with(models(0), tmp_path / "base", extra)
    found = merge_state_dict(recipe(models, base=base, lambdas=[0.5], extra="base"))
    for name, value in extra.items():
        assert torch.equal(found[name], value)


def test_no_more_than_one_is_held(models, monkeypatch):
    held = []
    original = TensorBuffers.take

    def counting(self, name):
        taken = original(self, name)
        held.append(len(self._begun))
        return taken

    monkeypatch.setattr(TensorBuffers, "take", counting)
    tensors = merge_tensors(recipe(models, lambdas=[0.5]))
    assert len(dict(tensors)) == len(held)
    assert set(held) == {0}


def test_whoever_loads_has_all_threads_of_torch(models):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        tensors = merge_tensors(recipe(models, lambdas=[0.5]))
        next(tensors)
        assert torch.get_num_threads() == 3
        tensors.close()
    finally:
        torch.set_num_threads(before)


def test_an_error_comes_where_the_tensor_is_asked_for(tmp_path, models):
    broken = weights(models(0))["model.norm.weight"].clone()
    broken[0] = float("inf")
    base = copy_with(models(0), tmp_path / "base", {"model.norm.weight": broken})
    tensors = merge_tensors(recipe(models, base=base, lambdas=[0.5]))
    with pytest.raises(MergeError, match=r"model\.norm\.weight holds NaN or infinity"):
        dict(tensors)


def test_one_output_of_a_whole_model(models, adapters):
    with pytest.raises(MergeError, match=r"the recipe has lambda-0.2, lambda-0.4; give one λ"):
        merge_tensors(recipe(models, lambdas=[0.2, 0.4]))
    adapter = build_recipe(
        method="linear",
        base=str(models(0)),
        tuned=[{"model": str(adapters(1))}],
        lambdas=[0.5],
        output="adapter",
    )
    with pytest.raises(MergeError, match="those of a whole model"):
        merge_tensors(adapter)
