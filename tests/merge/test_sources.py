"""Reading: what a broken, hostile or unusual input gets."""

import json

import pytest
import torch
from merge_models import copy_with, edit_json, weights
from merge_refusals import refused

from merge import MergeError, merge
from merge.references import ModelReference
from merge.sources import open_checkpoint


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "sub/x.safetensors", ".."])
def test_index_that_leads_elsewhere(tmp_path, models, sharded, name):
    index = sharded / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    weight_map["model.norm.weight"] = name
    edit_json(index, weight_map=weight_map)
    refused(tmp_path, models(0), sharded, "outside the folder")


def test_index_that_promises_too_much(tmp_path, models, sharded):
    index = sharded / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    weight_map["model.extra"] = weight_map["model.norm.weight"]
    edit_json(index, weight_map=weight_map)
    refused(tmp_path, models(0), sharded, "promises tensors .*model.extra")


def test_missing_shard(tmp_path, models, sharded):
    next(sharded.glob("model-00002*")).unlink()
    refused(tmp_path, models(0), sharded, "model-00002.* is missing, though the index names it")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_input_that_is_not_finite(tmp_path, models, bad):
    name = "model.layers.1.mlp.up_proj.weight"
    values = weights(models(1))[name].clone()
    values[3, 4] = bad
    tuned = copy_with(models(1), tmp_path / "tuned", {name: values})
    message = refused(tmp_path, models(0), tuned, "holds NaN or infinity")
    assert name in message
    assert "element 52" in message
    from merge import Options

    options = Options(allow_nonfinite=True)
    merge("linear", base=models(0), tuned=[tuned], lambdas=[1], out=tmp_path / "o", options=options)
    assert not torch.isfinite(weights(tmp_path / "o")[name]).all()


def test_output_that_overflows(tmp_path, models):
    big = copy_with(models(1), tmp_path / "big", {"model.norm.weight": torch.full((16,), 1e5)})
    with pytest.raises(MergeError, match=r"NaN or infinity in model.norm.weight as F16"):
        merge(
            "linear",
            base=models(0),
            tuned=[big],
            lambdas=[1],
            dtype="float16",
            out=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_folder_without_weights_or_config(tmp_path, models, tuned):
    (tuned / "model.safetensors").unlink()
    refused(tmp_path, models(0), tuned, "holds no weights")
    (tuned / "config.json").unlink()
    refused(tmp_path, models(0), tuned, r"config.json is missing")


def test_tensor_in_two_shards(tmp_path, sharded):
    import shutil

    files = sorted(sharded.glob("*.safetensors"))
    shutil.copy(files[0], files[1])
    with pytest.raises(MergeError, match="is in model-00001.* and in model-00002"):
        open_checkpoint(sharded)


def test_relative_paths_need_no_network(tmp_path, models, tuned, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    merge("linear", base=models(0), tuned=["tuned"], lambdas=[0.5], out="out")
    assert (tmp_path / "out/model.safetensors").is_file()


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/model", "/nowhere/model"])
def test_folder_that_is_not_there(tmp_path, models, name):
    refused(tmp_path, models(0), name, "no such folder")


def test_hub_id_without_network(tmp_path, models, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused(tmp_path, models(0), "nobody/no-such-model", "the Hub did not deliver it")


def test_references():
    assert ModelReference.parse("org/name@main") == ModelReference("org/name", "main")
    both = ModelReference.parse("org/name@v1+org/adapter@v2")
    assert both.adapter == ModelReference("org/adapter", "v2")
    assert str(both) == "org/name@v1+org/adapter@v2"
    with pytest.raises(MergeError, match="empty"):
        ModelReference.parse(" ")


def test_folder_name_with_a_plus(tmp_path, models):
    import shutil

    folder = shutil.copytree(models(1), tmp_path / "a+b@c")
    assert ModelReference.parse(str(folder)) == ModelReference(str(folder))
