"""Folders that hold two models, none, or one that has to be named otherwise."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from merge_models import copy_with, edit_json, weights
from merge_refusals import refused
from safetensors.torch import save_file

from merge import MergeError, merge
from merge.models.checkpoint import open_checkpoint
from merge.models.model_location import ModelReference


def test_a_file_and_an_index_of_other_files(tmp_path, models, sharded):
    save_file(weights(models(2)), sharded / "model.safetensors")
    refused(tmp_path, models(0), sharded, "two sets of weights, model.safetensors and")


def test_a_bin_file_and_an_index_of_others(tmp_path, models, tuned):
    (tuned / "model.safetensors").unlink()
    (tuned / "pytorch_model.bin").write_bytes(b"")
    index = {"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}
    (tuned / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    refused(tmp_path, models(0), tuned, "two sets of weights, pytorch_model.bin and")


def test_an_index_of_the_one_file(tmp_path, models, tuned):
    index = {"weight_map": dict.fromkeys(weights(tuned), "model.safetensors")}
    (tuned / "model.safetensors.index.json").write_text(json.dumps(index))
    merge("linear", base=models(0), tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.Q4_K_M.gguf", "is GGUF, which is quantised"),
        ("model.fp16.safetensors", "rename model.fp16.safetensors to model.safetensors"),
        ("zero_to_fp32.py", "zero_to_fp32.py first"),
        ("checkpoint-500/config.json", "give one of its folders, such as .*checkpoint-500"),
        ("pytorch_model_fsdp_0/__0_0.distcp", "FSDP's shards"),
        ("notes.md", "give a checkpoint folder"),
    ],
)
def test_what_is_there_instead_is_named(tmp_path, models, tuned, file, message):
    (tuned / "model.safetensors").unlink()
    (tuned / file).parent.mkdir(exist_ok=True)
    (tuned / file).write_text("{}")
    refused(tmp_path, models(0), tuned, message)


@pytest.mark.parametrize("within", ["default", "adapter_model", "checkpoint-500"])
@pytest.mark.parametrize("beside", ["nothing", "a configuration"])
def test_the_only_model_below_a_folder_is_taken(tmp_path, models, adapters, within, beside):
    """peft saves a second adapter, and trainers their checkpoints, below the folder."""
    inner = models(1) if within == "checkpoint-500" else adapters(1)
    shutil.copytree(inner, tmp_path / "root" / within)
    (tmp_path / "root" / "logs").mkdir()
    if beside != "nothing":
        shutil.copy(models(0) / "config.json", tmp_path / "root")
    for number, tuned in enumerate((tmp_path / "root", inner)):
        out = tmp_path / str(number)
        done = merge("linear", base=models(0), tuned=[tuned], lambdas=[0.5], out=out)
        taken = f"root has its model in {within}, which was taken"
        assert (taken in done.notes) == (number == 0)
    one, two = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("kinds", ["checkpoints", "adapters", "both"])
def test_several_models_below_a_folder_are_named(tmp_path, models, adapters, kinds):
    inner = {
        "checkpoints": [models(1), models(2)],
        "adapters": [adapters(1), adapters(2)],
        "both": [adapters(1), models(1)],
    }
    for step, folder in zip((500, 1000), inner[kinds], strict=True):
        shutil.copytree(folder, tmp_path / "root" / f"checkpoint-{step}")
    refused(
        tmp_path,
        models(0),
        tmp_path / "root",
        "root holds several models or adapters: checkpoint-1000, checkpoint-500; give the one",
    )


def test_a_model_with_states_of_its_training_is_itself(tmp_path, models, tuned):
    shutil.copytree(models(2), tuned / "checkpoint-500")
    merge("linear", base=models(0), tuned=[tuned], lambdas=[1], out=tmp_path / "out")
    own = weights(tuned)
    assert all(torch.equal(value, own[name]) for name, value in weights(tmp_path / "out").items())


def test_a_gguf_file(tmp_path, models):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    refused(tmp_path, models(0), tmp_path / "model.gguf", "is GGUF")


def test_a_folder_has_no_revisions(tmp_path, models, tuned):
    refused(tmp_path, models(0), f"{tuned}@v9", "is a folder here, which has no revisions")
    refused(tmp_path, models(0), f"{models(0)}+{tuned}@v9", "has no revisions")


def test_folders_whose_names_have_plus_and_at(tmp_path, models, adapters):
    base = shutil.copytree(models(0), tmp_path / "c++" / "base@1")
    text = f"{base}+{adapters(1)}"
    assert ModelReference.parse(text) == ModelReference(
        str(base), None, ModelReference(str(adapters(1)))
    )
    merge("linear", base=base, tuned=[text], lambdas=[0.5], out=tmp_path / "out")


def test_a_refused_checkpoint_leaves_no_file_open(tmp_path, sharded):
    files = sorted(sharded.glob("*.safetensors"))
    shutil.copy(files[0], files[1])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(MergeError):
            open_checkpoint(sharded)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture
def vector(tmp_path, models):
    merge(
        "safety-vector", base=models(0), unaligned=str(models(2)), dtype="float32",
        out=tmp_path / "vector",
    )  # fmt: skip
    return tmp_path / "vector"


def test_a_model_is_no_vector(tmp_path, models):
    with pytest.raises(MergeError, match="is no safety vector that `safemerge vector` saved"):
        merge(
            "resta", base=models(0), tuned=[models(1)], vector=str(models(2)), out=tmp_path / "out"
        )


@pytest.mark.parametrize("role", ["tuned", "base"])
def test_a_vector_is_no_model(tmp_path, models, vector, role):
    given = {"base": models(0), "tuned": models(1)} | {role: vector}
    refused(tmp_path, given["base"], given["tuned"], "is a saved safety vector and no model")


def test_a_vector_says_nothing_of_rows_that_it_lacks(tmp_path, models, vector):
    longer = {}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        old = weights(models(1))[name]
        longer[name] = torch.cat([old, torch.ones(1, old.shape[1], dtype=old.dtype)])
    tuned = copy_with(models(1), tmp_path / "padded", longer)
    edit_json(tuned / "config.json", vocab_size=65)
    merge(
        "resta", base=models(0), tuned=[tuned], vector=str(vector), vocabulary="grow",
        out=tmp_path / "out",
    )  # fmt: skip
    found = weights(tmp_path / "out")["lm_head.weight"]
    assert torch.equal(found[64:], longer["lm_head.weight"][64:])
    merge(
        "safety-vector", base=models(0), unaligned=str(tuned), vocabulary="grow",
        out=tmp_path / "padded-vector",
    )  # fmt: skip
    rows = weights(tmp_path / "padded-vector")["lm_head.weight"]
    assert rows.shape[0] == 65
    assert not rows[64:].any()
    merge(
        "resta", base=models(0), tuned=[models(1)], vector=str(tmp_path / "padded-vector"),
        vocabulary="grow", out=tmp_path / "shorter",
    )  # fmt: skip
    assert weights(tmp_path / "shorter")["lm_head.weight"].shape[0] == 64


ELSEWHERE = {
    "model-00001-of-00002.safetensors": "model.safetensors.index.json is missing: download it",
    "model.fp16-00001-of-00002.safetensors": "model.safetensors.index.json is missing",
    "pytorch_model-00001-of-00002.bin": "pytorch_model.bin.index.json is missing: download it",
    "pytorch_model_fsdp.bin": "rename pytorch_model_fsdp.bin to pytorch_model.bin",
    "tf_model.h5": "tf_model.h5 is of another framework",
    "hf_model_0001_0.pt": "hf_model_0001_0.pt is of another framework",
    "iter_0000100/common.pt": "Megatron's checkpoint: convert it",
    "model_world_size_2_rank_0.pt": "verl's shards: gather them with `python -m verl.model_merger",
}


@pytest.mark.parametrize("file", ELSEWHERE)
def test_what_other_tools_left_is_named(tmp_path, models, tuned, file):
    (tuned / "model.safetensors").unlink()
    (tuned / file).parent.mkdir(exist_ok=True)
    (tuned / file).write_text("{}")
    refused(tmp_path, models(0), tuned, ELSEWHERE[file])


@pytest.mark.parametrize("inner", ["", "huggingface"])
def test_verls_folder_has_its_configuration_below(tmp_path, models, tuned, inner):
    (tuned / "model.safetensors").unlink()
    (tuned / "huggingface").mkdir()
    (tuned / "config.json").rename(tuned / "huggingface" / "config.json")
    (tuned / "model_world_size_2_rank_0.pt").write_text("")
    refused(tmp_path, models(0), tuned / inner, "verl.model_merger merge` first")


@pytest.mark.parametrize("key", ["num_hidden_layers", "vocab_size"])
def test_counts_that_are_no_numbers(tmp_path, models, tuned, key):
    base = shutil.copytree(models(0), tmp_path / "base")
    extra = {"model.layers.7.w": torch.ones(2)}
    other = copy_with(models(1), tmp_path / "other", extra if "layers" in key else {})
    edit_json((other if "layers" in key else base) / "config.json", **{key: "two"})
    edit_json(base / "config.json", tie_word_embeddings=key == "vocab_size")
    refused(tmp_path, base, other, f"{key} is 'two', which is no whole number")


@pytest.mark.parametrize("name", ["~nobody-of-this-name/model", "x" * 300])
def test_names_that_no_folder_can_have(tmp_path, models, name):
    refused(tmp_path, models(0), name, "no such folder")


@pytest.mark.parametrize("how", ["itself", "a copy", "a link"])
def test_a_tuned_model_that_is_the_base_is_noted(tmp_path, models, how):
    base = models(0)
    tuned = {"itself": base}.get(how, tmp_path / "tuned")
    if how == "a copy":
        shutil.copytree(base, tuned)
    if how == "a link":
        tuned.symlink_to(base)
    done = merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    assert [note for note in done.notes if "has the base's own weights" in note]
