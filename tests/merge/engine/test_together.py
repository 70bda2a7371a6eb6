"""Recipes that share a pass: the bits of each alone, from inputs that are read once."""

from collections import Counter
from pathlib import Path

import pytest
from merge_models import copy_with, weights
from safetensors.torch import load_file

from merge import MergeError, build_recipe, merge_recipe, merge_recipes
from merge.formats.stored_tensor import StoredTensor
from merge.output.manifest import read_manifest


def recipe(method: str, models: list[Path], **fields):
    base, *tuned = map(str, models)
    return build_recipe(
        method=method, base=base, tuned=[{"model": model} for model in tuned], **fields
    )


def essence(folder: Path):
    """Return all of a manifest but the names of folders, which differ from run to run."""
    manifest = read_manifest(folder)
    return {
        name: manifest[name]
        for name in ("tensors", "recipe", "lambda", "inputs", "report", "notes")
    }


def assert_as_alone(recipes, tmp_path):
    together = merge_recipes(recipes, tmp_path / "together")
    assert list(together) == list(recipes)
    for name, one in recipes.items():
        alone = merge_recipe(one, tmp_path / name)
        assert len(alone.folders) == max(1, len(one.lambdas))
        assert together[name].report == alone.report
        assert [folder.relative_to(tmp_path / "together") for folder in together[name].folders] == [
            Path(name) / folder.relative_to(tmp_path / name) for folder in alone.folders
        ]
        for ours, theirs in zip(together[name].folders, alone.folders, strict=True):
            assert essence(ours) == essence(theirs)


def test_every_method_on_two_checkpoints(tmp_path, models):
    inputs = [models(0), models(1), models(2)]
    assert_as_alone(
        {
            "linear": recipe("linear", inputs[:2], lambdas=[0.2, 0.8]),
            "slerp": recipe("slerp", inputs[:2], lambdas=[0.5]),
            "dare": recipe(
                "dare-linear", inputs, lambdas=[0.3, 0.6], parameters={"drop_rate": 0.4}, seed=5
            ),
            "ties": recipe("ties", inputs, lambdas=[1.0], parameters={"density": 0.3}),
            "ties-model": recipe(
                "ties", inputs, lambdas=[1.0], parameters={"density": 0.5, "whole_model": 1}
            ),
            "stock": recipe("model-stock", inputs),
            "float32": recipe("linear", inputs[:2], lambdas=[0.5], dtype="float32"),
            "resta": recipe(
                "resta", inputs[:2], unaligned=str(models(3)), parameters={"gamma": 0.5}
            ),
        },
        tmp_path,
    )


def test_methods_on_one_adapter(tmp_path, models, adapters):
    inputs = [models(0), adapters(1)]
    assert_as_alone(
        {
            "linear": recipe("linear", inputs, lambdas=[0.2, 0.8]),
            "slerp": recipe("slerp", inputs, lambdas=[0.5]),
            "dare": recipe("dare-linear", inputs, lambdas=[0.5], parameters={"drop_rate": 0.3}),
            "safe-lora": recipe(
                "safe-lora",
                inputs,
                unaligned=str(models(2)),
                parameters={"threshold": 0.5},
            ),
            "resta": recipe("resta", inputs, unaligned=str(adapters(2)), parameters={"gamma": 0.5}),
        },
        tmp_path,
    )


def test_large_tensors_are_measured_in_groups_of_their_own(tmp_path, models, monkeypatch):
    monkeypatch.setattr("merge.engine.blocks.GROUP_ELEMENTS", 500)
    inputs = [models(0), models(1), models(2)]
    assert_as_alone(
        {
            "stock": recipe("model-stock", inputs),
            "ties": recipe("ties", inputs, lambdas=[1.0], parameters={"density": 0.3}),
            "linear": recipe("linear", inputs[:2], lambdas=[0.5]),
        },
        tmp_path,
    )


def test_what_is_shared_is_read_once(tmp_path, models, adapters, monkeypatch):
    read: Counter[tuple[str, str]] = Counter()
    original = StoredTensor.read_bytes

    def counting(self, start, stop, into=None):
        read[str(self.path), self.name] += stop - start
        return original(self, start, stop, into)

    monkeypatch.setattr(StoredTensor, "read_bytes", counting)
    inputs = [models(0), adapters(1)]
    merge_recipes(
        {
            "linear": recipe("linear", inputs, lambdas=[0.2, 0.8]),
            "dare": recipe("dare-linear", inputs, lambdas=[0.5], parameters={"drop_rate": 0.3}),
        },
        tmp_path / "out",
    )
    stored = {
        (str(path), name): tensor.numel()
        for folder in inputs
        for path in folder.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }
    again = {name: count - stored[name] for name, count in read.items() if count != stored[name]}
    # Opening an adapter looks at one B, whether all of it is zero.
    [(_, name)] = again
    assert name.endswith("lora_B.weight")
    assert read == {**stored, **{key: 2 * stored[key] for key in again}}


def test_progress_counts_the_bytes_of_all(tmp_path, models):
    told: list[tuple[int, int]] = []
    inputs = [models(0), models(1)]
    merge_recipes(
        {
            "linear": recipe("linear", inputs, lambdas=[0.2, 0.8]),
            "slerp": recipe("slerp", inputs, lambdas=[0.5]),
        },
        tmp_path / "out",
        progress=lambda done, total: told.append((done, total)),
    )
    size = sum(tensor.nbytes for tensor in weights(models(0)).values())
    assert told[-1] == (3 * size, 3 * size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_none_is_left_behind_when_one_fails(tmp_path, models):
    broken = weights(models(1))["model.norm.weight"].clone()
    broken[0] = float("nan")
    tuned = copy_with(models(1), tmp_path / "broken", {"model.norm.weight": broken})
    with pytest.raises(MergeError, match=r"model\.norm\.weight holds NaN"):
        merge_recipes(
            {
                "good": recipe("linear", [models(0), models(1)], lambdas=[0.5]),
                "bad": recipe("linear", [models(0), tuned], lambdas=[0.5]),
            },
            tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"dtype": "float64"}])
def test_bases_that_differ_are_named(tmp_path, models, change):
    with pytest.raises(MergeError, match="other and small write tensors of different names"):
        merge_recipes(
            {
                "small": recipe("linear", [models(0), models(1)], lambdas=[0.5]),
                "other": recipe("linear", [models(0, **change), models(1, **change)], lambdas=[1]),
            },
            tmp_path / "out",
        )


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_names_are_names_of_folders(tmp_path, models, name):
    one = recipe("linear", [models(0), models(1)], lambdas=[0.5])
    with pytest.raises(MergeError, match="is no name for a folder"):
        merge_recipes({name: one}, tmp_path / "out")


def test_adapters_are_merged_alone(tmp_path, models, adapters):
    one = recipe("linear", [models(0), adapters(1)], lambdas=[0.5], output="adapter")
    with pytest.raises(MergeError, match="lora is to be an adapter"):
        merge_recipes({"lora": one}, tmp_path / "out")


def test_no_recipes_make_nothing(tmp_path):
    assert merge_recipes({}, tmp_path / "out") == {}
    assert not (tmp_path / "out").exists()
