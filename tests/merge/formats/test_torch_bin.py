"""PyTorch's .bin files: read like safetensors, and never run."""

import json
import pickle
import shutil

import pytest
import torch
from merge_models import weights
from merge_refusals import refused

from merge import merge


def bin_copy(folder, out, shards=1):
    out.mkdir()
    for path in folder.glob("*.json"):
        if "index" not in path.name:
            shutil.copy(path, out)
    tensors = weights(folder)
    names = list(tensors)
    if shards == 1:
        torch.save(tensors, out / "pytorch_model.bin")
        return out
    weight_map = {name: f"pytorch_model-{i % shards}.bin" for i, name in enumerate(names)}
    for file in set(weight_map.values()):
        torch.save({n: tensors[n] for n in names if weight_map[n] == file}, out / file)
    index = {"metadata": {}, "weight_map": weight_map}
    (out / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return out


@pytest.mark.parametrize("shards", [1, 3])
def test_bin_files_are_read_like_safetensors(tmp_path, models, shards):
    tuned = bin_copy(models(1), tmp_path / "bin", shards)
    merge("linear", base=models(0), tuned=[tuned], lambdas=[0.3], out=tmp_path / "a")
    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.3], out=tmp_path / "b")
    one, two = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_bin_file_with_code_in_it(tmp_path, models):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    tuned = bin_copy(models(1), tmp_path / "bin")
    torch.save({"x": Harmful()}, tuned / "pytorch_model.bin")
    refused(tmp_path, models(0), tuned, "cannot be read as weights")
    (tuned / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful()))
    refused(tmp_path, models(0), tuned, "cannot be read as weights")
    assert not (tmp_path / "pwned").exists()


def test_truncated_bin_file(tmp_path, models):
    tuned = bin_copy(models(1), tmp_path / "bin")
    path = tuned / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-4000])
    refused(tmp_path, models(0), tuned, "cannot be read as weights")


@pytest.mark.parametrize("kind", ["sparse", "turned"])
def test_tensors_that_are_no_plain_arrays(tmp_path, models, kind):
    values = torch.ones(16)
    odd = values.to_sparse() if kind == "sparse" else torch.zeros(16, 2).T
    tuned = bin_copy(models(1), tmp_path / "bin")
    torch.save(weights(models(1)) | {"model.norm.weight": odd}, tuned / "pytorch_model.bin")
    # torch 2.15 itself does not map a sparse one.
    sentence = "model.norm.weight is not stored as a plain array|cannot be read as weights"
    refused(tmp_path, models(0), tuned, sentence)
