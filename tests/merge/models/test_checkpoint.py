"""Checkpoint folders that are broken or lead elsewhere."""

import json

import pytest
from merge_models import edit_json
from merge_refusals import refused

from merge import MergeError
from merge.models.checkpoint import open_checkpoint


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
