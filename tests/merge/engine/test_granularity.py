"""Blocks, rows or whole tensors: what a method sees, and that nothing else depends on it."""

import json

import pytest
import torch
from merge_models import copy_with, weights

from merge import Options, build_recipe, merge, merge_recipe, merge_recipes, verify
from merge.engine.blocks import WHOLE_ELEMENTS, tasks, tensor_groups
from merge.methods import Granularity, Method, methods, register
from merge.output.manifest import read_manifest


class Watching(Method):
    """The fine-tuned model, and what was seen of it."""

    name = "watching"
    tuned = (1, 1)
    takes_lambda = False

    def merge(self, block, values, lambdas, totals):
        self.seen.append((block.name, block.start, block.stop, block.shape, block.elements))
        yield block.tuned[0]


@pytest.fixture
def watching(monkeypatch):
    methods()
    monkeypatch.setattr("merge.methods.registry._registered", dict(methods()))
    monkeypatch.setattr(Watching, "seen", [], raising=False)
    return register(Watching)


def recipe(method, models, **parameters):
    return build_recipe(
        method=method,
        base=str(models(0)),
        tuned=[{"model": str(models(1))}],
        parameters=parameters,
    )


@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize("size", [7, 96, 100])
def test_what_a_method_sees(tmp_path, models, watching, monkeypatch, granularity, size):
    monkeypatch.setattr(Watching, "granularity", granularity)
    options = Options(block_elements=size, threads=2)
    merge_recipe(recipe("watching", models), tmp_path / "out", options=options)
    ends: dict[str, int] = {}
    several = False
    for name, start, stop, shape, elements in sorted(Watching.seen):
        assert start == ends.get(name, 0)
        ends[name] = stop
        several |= start > 0
        if granularity is Granularity.ROWS:
            assert start % shape[-1] == 0
            assert stop % shape[-1] == 0
        if granularity is Granularity.TENSORS:
            assert (start, stop) == (0, elements)
        if granularity is Granularity.BLOCKS:
            assert stop - start == size or stop == elements
    merged = weights(tmp_path / "out")
    assert ends == {name: tensor.numel() for name, tensor in merged.items()}
    # 96 elements are whole rows of 16 or 24; those of 7 and 100 are not, and several together are.
    assert several or granularity is Granularity.TENSORS
    assert all((value == weights(models(1))[name]).all() for name, value in merged.items())


def test_checksums_are_over_the_same_blocks(tmp_path, models):
    """Those of inputs and outputs do not show how much a method sees."""
    found = []
    for method, parameters in (("task-arithmetic", {}), ("breadcrumbs", {}), ("della", {})):
        merge_recipe(recipe(method, models, **parameters), tmp_path / method)
        verify(tmp_path / method)
        manifest = read_manifest(tmp_path / method)
        found.append([manifest["inputs"], manifest["tensors"]])
    assert json.dumps(found[0]) == json.dumps(found[1]) == json.dumps(found[2])


def test_methods_of_every_granularity_in_one_go(tmp_path, models):
    recipes = {
        "one": recipe("breadcrumbs", models, density=0.5),
        "two": recipe("della", models, density=0.5),
        "three": recipe("task-arithmetic", models, weight=0.5),
        "four": recipe("slerp", models, **{"lambda": 0.5}),
    }
    done = merge_recipes(recipes, tmp_path / "together", options=Options(threads=3))
    assert list(done) == list(recipes)
    for name, each in recipes.items():
        merge_recipe(each, tmp_path / name, options=Options(threads=1))
        verify(tmp_path / "together" / name)
        alone, together = (weights(tmp_path / part / name) for part in (".", "together"))
        assert all((alone[key] == value).all() for key, value in together.items())


class Sized:
    """As much of a plan as the order of the work depends on."""

    def __init__(self, method, *shapes):
        self.method, self.tensors = method, [Tensor(shape) for shape in shapes]


class Tensor:
    copied, scaled, values = False, False, None

    def __init__(self, shape):
        self.shape, self.elements = shape, shape[0] * shape[1]


def test_whole_tensors_in_memory_are_bounded(monkeypatch):
    method = Watching()
    monkeypatch.setattr(Watching, "granularity", Granularity.TENSORS)
    quarter = (1024, WHOLE_ELEMENTS // 4096)
    plan = Sized(method, quarter, quarter, (1024, WHOLE_ELEMENTS), quarter, *[quarter] * 4)
    assert [len(group) for group in tensor_groups([plan])] == [2, 1, 4, 1]


def test_rows_of_a_power_of_two_are_blocks(monkeypatch):
    monkeypatch.setattr(Watching, "granularity", Granularity.ROWS)
    plan = Sized(Watching(), (512, 4096), (100, 11008))
    spans = [task.stop - task.start for task in tasks(plan, [0], 262_144)]
    assert set(spans) == {262_144}
    [whole] = tasks(plan, [1], 262_144)
    assert (whole.start, whole.stop) == (0, 100 * 11008)


@pytest.mark.parametrize("method", ["slerp", "ties", "della", "nuslerp", "arcee-fusion", "sce"])
@pytest.mark.parametrize("shape", [(0,), (0, 16), (2, 0, 4), ()])
def test_tensors_of_no_elements_or_no_dimension(tmp_path, models, method, shape):
    tensors = {"model.odd": torch.full(shape, 0.5)}
    folders = [copy_with(models(seed), tmp_path / str(seed), tensors) for seed in range(3)]
    tuned = folders[1:] if method == "nuslerp" else folders[1:2]
    lambdas = [0.5] if method == "slerp" else []
    given = {"ties": {"density": 0.5}, "della": {"density": 0.5}}.get(method, {})
    merge(
        method, base=folders[0], tuned=tuned, lambdas=lambdas, parameters=given,
        out=tmp_path / "out",
    )  # fmt: skip
    assert weights(tmp_path / "out")["model.odd"].shape == shape
