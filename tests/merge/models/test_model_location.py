"""Names of models, and the folders they stand for."""

import shutil

import pytest
from merge_refusals import refused

from merge import MergeError, merge
from merge.models.model_location import ModelReference


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
    folder = shutil.copytree(models(1), tmp_path / "a+b@c")
    assert ModelReference.parse(str(folder)) == ModelReference(str(folder))
